"""What it costs on this machine that agents exchange messages: the other part of a prediction of throughput."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.distributed as dist

from bench.engine.transport.channels import Receiver, Route, Sender
from bench.engine.transport.message import Message
from bench.engine.transport.shared import Exchange
from bench.engine.world import World
from bench.plan.forecast.costs import Pace

ROUNDS = 40
"""Exchanges of each size between two agents."""
SIZES = (1 << 10, 1 << 22)
"""Bytes of a small and a large message."""
PRODUCT = 384
"""Rows of the matrices that an agent multiplies between two exchanges: some milliseconds of computing, as a stage."""


class Paces(NamedTuple):
    """Seconds that messages take, the same at both ranks. Both compute in between, as agents do: caches are cold, and
    whoever carries the messages has to be woken."""

    neighbours: Pace
    """One way of a message between two neighbouring stages, through memory where it can be."""
    handing: Pace
    """The part of that until the stage that sends goes on."""
    hosts: Pace
    """One way of a message by TCP."""
    replicas: Pace
    """An all-reduce between two replicas."""
    averaging: Pace
    """Processor time of an all-reduce, at each replica."""
    handling: Pace
    """Processor time of a message by TCP, at either end."""


def exchange_paces(world: World) -> Paces:
    """Measure what messages between two agents take."""
    both_ends = _pace(world, _busy)
    return Paces(
        _pace(world, partial(_one_way, shared=True)),
        _pace(world, partial(_one_way, shared=True, handing=True)),
        _pace(world, partial(_one_way, shared=False)),
        _pace(world, partial(_allreduce, clock=time.perf_counter)),
        _pace(world, partial(_allreduce, clock=time.process_time)),
        Pace(both_ends.message / 2, both_ends.byte / 2),
    )


def _pace(world: World, seconds: Callable[[World, int], list[float]]) -> Pace:
    # The earlier rank also waits for the later one, which waits for the message alone.
    small, large = (statistics.fmean(map(min, zip(*world.gather(seconds(world, size)), strict=True))) for size in SIZES)
    byte = max(large - small, 0.0) / (SIZES[1] - SIZES[0])
    return Pace(max(small - SIZES[0] * byte, 0.0), byte)


def _one_way(world: World, size: int, shared: bool, handing: bool = False) -> list[float]:
    """Half the seconds of a message there and back between two stages: through memory where it can be, or by TCP.

    Args:
        handing: return the seconds that the first one's sending takes instead.
    """
    message = Message.like(torch.empty(size, dtype=torch.uint8))
    exchange = Exchange(world)
    sending = exchange.sender if shared else partial(Sender, world)
    receiving = exchange.receiver if shared else partial(Receiver, world)
    if world.rank == 0:
        sender = sending(Route.activations(world, 0, 1), message, 2)
        receiver = receiving(Route.gradients(world, 1, 1), message, 2)
    else:
        receiver = receiving(Route.activations(world, 0, 0), message, 2)
        sender = sending(Route.gradients(world, 1, 0), message, 2)
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
        handed = time.perf_counter() - started
        receiver.receive()
        receiver.release()
        if world.rank == 1:
            sender.send(tensor)
        times.append(handed if handing else (time.perf_counter() - started) / 2)
    sender.flush()
    # The second rank does not see its answer arrive, and hands over late.
    first: list[float] = world.share(times)
    return first


def _busy(world: World, size: int) -> list[float]:
    """Seconds of processor time to send a message by TCP and to receive one, in all threads."""
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


def _allreduce(world: World, size: int, clock: Callable[[], float]) -> list[float]:
    tensor, times = torch.zeros(size // 4), []
    for _ in range(ROUNDS):
        _compute()
        started = clock()
        dist.all_reduce(tensor, group=world.control)
        times.append(clock() - started)
    return times


def _compute() -> None:
    matrix = torch.ones(PRODUCT, PRODUCT)
    for _ in range(4):
        torch.mm(matrix, matrix)
