"""Channels through shared memory, and through the process group where there is none to share."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributed import Store

from bench.config import RunConfig
from bench.engine.summary import Outcome
from bench.engine.transport import shared
from bench.engine.transport.channels import Receiver, Route, Sender
from bench.engine.transport.message import Message
from bench.engine.transport.shared import Exchange, Host, SharedReceiver, SharedSender
from bench.engine.world import World
from bench.plan.grid import Grid
from bench.task.tensors import every
from tests import tiny
from tests.pool import Pool, joined

PAIR = tiny.config(stages=2, staleness=2)
IMAGES = torch.empty(2, 3, 4, 5, dtype=torch.float64).to(memory_format=torch.channels_last)
SHORTCUT = torch.empty(2, 3, 1, 1, dtype=torch.float32)
"""A tensor smaller than a line of the cache, and of another type."""
COUNT, DEPTH, HELD = 7, 1, 2


def exchange(store: Store, near: bool, pause: float) -> tuple[str, list[float], bool]:
    """Rank 0 sends COUNT messages to rank 1, which pauses first.

    Returns:
        The kind of the end, what came, and whether the reader had begun when all was sent.
    """
    with joined(PAIR, store) as world, pytest.MonkeyPatch.context() as patch:
        if not near:
            patch.setattr(shared, "host", lambda world: Host(str(world.rank), 1 << 40))
        made = Exchange(world)
        message = Message.like((IMAGES, SHORTCUT))
        if world.rank == 0:
            sender = made.sender(Route.activations(world, 0, 1), message, DEPTH, HELD)
            made.close()
            _send(world, sender)
            begun = store.check(["reading"])
            sender.flush()
            return (type(sender).__name__, [], begun)
        receiver = made.receiver(Route.activations(world, 0, 0), message, DEPTH, HELD)
        made.close()
        receiver.open(COUNT)
        world.barrier()
        time.sleep(pause)
        store.set("reading", "")
        return (type(receiver).__name__, list(_receive(receiver, message)), True)


def _receive(receiver: Receiver | SharedReceiver, message: Message) -> Iterator[float]:
    """Sums of what came; two messages at a time are held before they are given back."""
    held: deque[tuple[Tensor, ...]] = deque()
    for number in range(COUNT):
        held.append(every(receiver.receive()))
        if len(held) == HELD or number == COUNT - 1:
            while held:
                images, shortcut = held.popleft()
                assert Message.like((images, shortcut)) == message
                assert (shortcut == -images[:, :, :1, :1]).all()
                yield float(images.sum())
                receiver.release()


def _send(world: World, sender: Sender | SharedSender) -> None:
    sender.open(COUNT)
    world.barrier()
    for number in range(COUNT):
        if isinstance(sender, Sender):
            sender.send((torch.full_like(IMAGES, number), torch.full_like(SHORTCUT, -number)))
        else:
            # Written over at once: what was handed over must not change with it.
            sender.send((IMAGES.fill_(number), SHORTCUT.fill_(-number)))


@pytest.mark.parametrize("near", [True, False])
def test_messages_arrive_in_order(pool: Pool, near: bool) -> None:
    sent, received = pool.run(exchange, 2, near, 0.0)
    kinds = (SharedSender, SharedReceiver) if near else (Sender, Receiver)
    assert (sent[0], received[0]) == tuple(kind.__name__ for kind in kinds)
    assert received[1] == [number * IMAGES.numel() for number in range(COUNT)]


def test_a_full_ring_waits_for_its_reader(pool: Pool) -> None:
    """Seven messages through three slots: none may be written over before it was given back."""
    sent, received = pool.run(exchange, 2, True, 0.5)
    assert received[1] == [number * IMAGES.numel() for number in range(COUNT)]
    assert sent[2]


def test_no_name_is_left_behind(pool: Pool) -> None:
    before = set(shared.FOLDER.glob("staleness-bench-*"))
    pool.run(exchange, 2, True, 0.0)
    assert set(shared.FOLDER.glob("staleness-bench-*")) <= before


def apart(store: Store, run: RunConfig) -> Outcome:
    """A run whose agents believe to be on machines of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "host", lambda world: Host(str(world.rank), 0))
        return tiny.distributed(store, run)


@pytest.mark.parametrize("staleness", [0, 1, 2, 3])
def test_agents_apart_compute_the_same(pool: Pool, staleness: int) -> None:
    run = tiny.config(stages=3, staleness=staleness, max_steps=20)
    near, far = pool.run(tiny.distributed, 3, run)[0], pool.run(apart, 3, run)[0]
    assert near.state.keys() == far.state.keys()
    assert all(torch.equal(near.state[name], far.state[name]) for name in near.state)


def test_too_little_memory_goes_by_the_process_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "FOLDER", tmp_path / "missing")
    world = World(Grid(2, 1), 0, torch.device("cpu"), "gloo")
    assert shared.host(world).free == 0
