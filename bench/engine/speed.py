"""What training costs on this machine, part by part: what a prediction of throughput is made of."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bench.config import RunConfig
from bench.engine.channels import Route
from bench.engine.memory import Exchange
from bench.engine.message import Message
from bench.engine.numerics import Numerics
from bench.engine.optimizer import FlatOptimizer
from bench.engine.profile import Layer, profile
from bench.engine.weights import Weights
from bench.engine.world import World

REPEATS = 5
ROUNDS = 40
"""Exchanges of each size between two agents."""
SIZES = (1 << 10, 1 << 20)
"""Bytes of a small and a large message."""
PRODUCT = 384
"""Rows of the matrices that an agent multiplies between two exchanges: some milliseconds of computing, as a stage."""


class Speed(NamedTuple):
    """Of one agent, for batches of one size."""

    layers: list[Layer]
    """Seconds of their passes."""
    parameter_bytes: list[int]
    """Of each layer."""
    data: float
    """Seconds to prepare a batch's images."""
    collect: float
    """Seconds a parameter byte: to gather the gradients, at the end of a backward."""
    update: float
    """Seconds a parameter byte: of the optimizer's step."""


def measure(config: RunConfig, network: nn.Sequential, inputs: Callable[[], Tensor], numerics: Numerics) -> Speed:
    """Walk through a network, placed.

    Args:
        inputs: makes a batch's images.
    """
    layers = profile(network, inputs(), numerics, "measured")
    sizes = [sum(p.numel() * p.element_size() for p in layer.parameters()) for layer in network]
    weights = Weights(copy.deepcopy(network), 2)
    optimizer = FlatOptimizer(config.optimizer, weights.current)
    gradients = [torch.zeros_like(parameter) for parameter in weights.parameters]
    collect = _seconds(lambda: weights.collect(gradients), numerics.device)
    update = _seconds(lambda: optimizer.step(weights.advance(), weights.gradient, 0.0), numerics.device)
    total = max(sum(sizes), 1)
    return Speed(layers, sizes, _seconds(inputs, numerics.device), collect / total, update / total)


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """Median, the first call apart."""
    times = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


class Pace(NamedTuple):
    """Of what two agents exchange."""

    latency: float
    """Seconds of a message without bytes."""
    per_byte: float
    """Seconds a byte more."""


def exchange_paces(world: World) -> tuple[Pace, Pace]:
    """Between two neighbouring stages, one way, and of an all-reduce between two replicas; the same at both ranks.

    Both compute in between, as agents do: caches are cold, and whoever carries the messages has to be woken.
    """
    return _pace(world, _one_way), _pace(world, _allreduce)


def _pace(world: World, seconds: Callable[[World, int], list[float]]) -> Pace:
    # The earlier rank also waits for the later one, which waits for the message alone.
    small, large = (statistics.fmean(map(min, zip(*world.gather(seconds(world, size)), strict=True))) for size in SIZES)
    per_byte = max(large - small, 0.0) / (SIZES[1] - SIZES[0])
    return Pace(max(small - SIZES[0] * per_byte, 0.0), per_byte)


def _one_way(world: World, size: int) -> list[float]:
    """Half the seconds of there and back, through the channels of two stages."""
    message, exchange = Message.like(torch.empty(size, dtype=torch.uint8)), Exchange(world)
    if world.rank == 0:
        sender = exchange.sender(Route.activations(world, 0, 1), message, 2)
        receiver = exchange.receiver(Route.gradients(world, 1, 1), message, 2)
    else:
        receiver = exchange.receiver(Route.activations(world, 0, 0), message, 2)
        sender = exchange.sender(Route.gradients(world, 1, 0), message, 2)
    exchange.close()
    sender.open(ROUNDS)
    receiver.open(ROUNDS)
    tensor, times = torch.zeros(size, dtype=torch.uint8), []
    for _ in range(ROUNDS):
        _compute()
        world.barrier()
        started = time.perf_counter()
        if world.rank == 0:
            sender.send(tensor)
        receiver.receive()
        receiver.release()
        if world.rank == 1:
            sender.send(tensor)
        times.append((time.perf_counter() - started) / 2)
    sender.flush()
    # The second rank does not see its answer arrive.
    shared: list[float] = world.share(times)
    return shared


def _allreduce(world: World, size: int) -> list[float]:
    tensor, times = torch.zeros(size // 4), []
    for _ in range(ROUNDS):
        _compute()
        started = time.perf_counter()
        dist.all_reduce(tensor, group=world.control)
        times.append(time.perf_counter() - started)
    return times


def _compute() -> None:
    matrix = torch.ones(PRODUCT, PRODUCT)
    for _ in range(4):
        torch.mm(matrix, matrix)
