"""What it costs on this machine that agents exchange messages: the other part of a prediction of throughput."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.distributed as dist

from bench.engine.channels import Receiver, Route, Sender
from bench.engine.memory import Exchange
from bench.engine.message import Message
from bench.engine.world import World

ROUNDS = 40
"""Exchanges of each size between two agents."""
SIZES = (1 << 10, 1 << 20)
"""Bytes of a small and a large message."""
PRODUCT = 384
"""Rows of the matrices that an agent multiplies between two exchanges: some milliseconds of computing, as a stage."""


class Pace(NamedTuple):
    """Of what two agents exchange."""

    latency: float
    """Seconds of a message without bytes."""
    per_byte: float
    """Seconds a byte more."""


class Paces(NamedTuple):
    """The same at both ranks. Both compute in between, as agents do: caches are cold, and whoever carries the messages
    has to be woken."""

    neighbours: Pace
    """One way between two neighbouring stages, through memory where it can be."""
    replicas: Pace
    """Of an all-reduce between two."""
    handling: float
    """Seconds a byte for which a message by TCP keeps the cores busy, at either end."""


def exchange_paces(world: World) -> Paces:
    """Of two agents."""
    busy = _pace(world, _busy)
    return Paces(_pace(world, _one_way), _pace(world, _allreduce), busy.per_byte / 2)


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


def _busy(world: World, size: int) -> list[float]:
    """Processor time to send a message by TCP and to receive one, in all threads."""
    message, peer = Message.like(torch.empty(size, dtype=torch.uint8)), 1 - world.rank
    sender = Sender(world, Route.activations(world, world.rank, peer), message, 2)
    receiver = Receiver(world, Route.activations(world, peer, peer), message, 2)
    receiver.open(ROUNDS)
    tensor, times = torch.zeros(size, dtype=torch.uint8), []
    for _ in range(ROUNDS):
        world.barrier()
        started = time.process_time()
        sender.send(tensor)
        receiver.receive()
        sender.flush()
        times.append(time.process_time() - started)
    return times


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
