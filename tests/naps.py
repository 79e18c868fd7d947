"""A rank that naps until another one waits for it: what the other then says of its time, no busy machine can change.

Each rank shows which section it is in. A nap is over once the other rank has been in one lock for all of :data:`NAP`;
as all clocks of a machine are one, the other's seconds in that lock are then at least those that were napped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from torch.distributed import Store

from bench.config import RunConfig
from bench.engine.meter import Meter
from bench.engine.numerics import Numerics
from bench.engine.train import train
from bench.plan.sections import KINDS
from bench.task.tensors import Tensors
from tests import tiny
from tests.both import Ran
from tests.commands import LONG
from tests.pool import Pool, joined

NAP = 0.01
FORWARD, BETWEEN, STRIDE = KINDS.index("forward"), len(KINDS), len(KINDS) + 1
"""A rank's number is that of its section times the stride, plus its kind's place, or ``BETWEEN`` when it leaves one."""


class Napped(NamedTuple):
    """What came of a run with naps."""

    seconds: list[dict[str, float]]
    """Seconds of each rank, by kind."""
    naps: list[float]
    """Seconds of each nap, for all of which the other rank was in the lock."""


@contextmanager
def _shown(board: Any, rank: int) -> Iterator[None]:
    """Show a rank's sections on the board, and that it leaves one before it looks at the clock."""
    enter = Meter.enter
    section = 0

    def entering(meter: Meter, kind: str, batch: int = -1) -> None:
        nonlocal section
        board[rank] = section * STRIDE + BETWEEN
        enter(meter, kind, batch)
        section += 1
        board[rank] = section * STRIDE + KINDS.index(kind)

    with patch.object(Meter, "enter", entering):
        yield


def _nap(board: Any, other: int, locks: tuple[str, ...]) -> float:
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        seen = int(board[other])
        begun = time.perf_counter()
        time.sleep(NAP)
        seconds = time.perf_counter() - begun
        if int(board[other]) == seen and seen % STRIDE in map(KINDS.index, locks):
            return seconds
    raise AssertionError(f"rank {other} is not in any of {locks}: {board}")


def _rank(
    store: Store, run: RunConfig, file: Path, slow: int, other: int, locks: tuple[str, ...], awake: int
) -> tuple[Ran, list[float]]:
    """Run as one rank of a run whose rank ``slow`` naps in each forward of its training, but not of a probe."""
    board = np.memmap(file, np.uint64, "r+", shape=(run.agents,))
    naps: list[float] = []
    forwards = count()
    with joined(run, store) as world, _shown(board, world.rank):
        apply = Numerics.apply

        def napping(numerics: Numerics, module: Any, x: Tensors) -> Any:
            trains = int(board[world.rank]) % STRIDE == FORWARD and torch.is_grad_enabled()
            if world.rank == slow and trains and next(forwards) >= awake:
                naps.append(_nap(board, other, locks))
            return apply(numerics, module, x)

        with patch.object(Numerics, "apply", napping):
            return Ran.of(train(run, tiny.dataset_of(run), world, lambda _: None)), naps


def napped(pool: Pool, folder: Path, run: RunConfig, slow: int, other: int, *locks: str, awake: int = 0) -> Napped:
    """Let rank ``slow`` nap in its forwards, from number ``awake`` on, until rank ``other`` is in one of the locks."""
    file = folder / "board"
    np.full(run.agents, BETWEEN, np.uint64).tofile(file)
    answers = pool.run(_rank, run.agents, run, file, slow, other, locks, awake)
    made = Napped([agent["seconds"] for agent in answers[0][0].agents], answers[slow][1])
    assert made.seconds[slow]["forward"] >= sum(made.naps) >= NAP * len(made.naps)
    assert sum(made.seconds[other][lock] for lock in locks) >= sum(made.naps)
    return made
