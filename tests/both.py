"""The same runs by both engines: many in one process group, with results that cross a pipe as plain arrays."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.distributed import Store

from bench.config import RunConfig
from bench.engine.summary import Outcome
from bench.engine.train import train
from bench.task.build import build
from bench.task.dataset import Dataset
from bench.task.model.contract import Model
from tests import tiny
from tests.pool import Pool, joined

Network = Callable[[Model, Dataset], nn.Sequential]


class Ran(NamedTuple):
    """What a test wants of an outcome. Tensors would each take a file descriptor on their way."""

    epochs: list[dict[str, Any]]
    metrics: dict[str, float]
    agents: list[dict[str, Any]]
    timelines: list[dict[str, Any]]
    state: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, outcome: Outcome) -> Ran:
        state = {name: tensor.numpy() for name, tensor in outcome.state.items()}
        return cls(outcome.epochs, outcome.metrics, outcome.agents, outcome.timelines, state)


def oracle(run: RunConfig) -> Ran:
    return Ran.of(tiny.alone(dataclasses.replace(run, engine="reference")))


def together(store: Store, runs: Sequence[RunConfig]) -> list[Ran]:
    """Run, as a rank of a pool, runs of one grid one after the other in one process group."""
    with joined(runs[0], store) as world:
        return [Ran.of(train(run, tiny.dataset_of(run), world, lambda _: None)) for run in runs]


def shared_out(store: Store, runs: Sequence[RunConfig], network: Network) -> tuple[list[Ran], list[Ran]]:
    """Run the same, and then this rank's share of the oracle's runs."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with patch("bench.engine.assembly.build", network):
        ran = together(store, runs)
        return ran if rank == 0 else [], [oracle(run) for run in runs[rank::size]]


def both(pool: Pool, runs: Sequence[RunConfig], network: Network = build) -> list[tuple[Ran, Ran]]:
    """Run each by both engines: (distributed, oracle) of each; all runs on one grid."""
    size = runs[0].agents
    answers = pool.run(shared_out, size, list(runs), network)
    return [(answers[0][0][number], answers[number % size][1][number // size]) for number in range(len(runs))]


def distributed(pool: Pool, runs: Sequence[RunConfig]) -> list[Ran]:
    """Run each on the pool's ranks, and return rank 0's view of it; all runs on one grid."""
    ran: list[Ran] = pool.run(together, runs[0].agents, list(runs))[0]
    return ran


def statistics(name: str) -> bool:
    """Whether a state's entry is of a batch norm's running statistics."""
    return name.endswith(("running_mean", "running_var"))


def assert_same(
    state: dict[str, NDArray[Any]],
    expected: dict[str, NDArray[Any]],
    what: str = "",
    without_statistics: bool = False,
) -> None:
    """Check that two states are equal to the bit, entry for entry."""
    assert set(state) == set(expected)
    names = [name for name in expected if not (without_statistics and statistics(name))]
    assert names
    different = [name for name in names if state[name].tobytes() != expected[name].tobytes()]
    worst = max((float(np.abs(state[name] - expected[name]).max()) for name in different), default=0.0)
    assert not different, f"{what}: {len(different)} of {len(names)} differ, by up to {worst}: {different[:5]}"


def assert_close(state: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]], tolerance: float = 1e-12) -> None:
    """Check that two states are equal but for the order of sums."""
    assert set(state) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(state[name], value, rtol=tolerance, atol=tolerance, err_msg=name)
