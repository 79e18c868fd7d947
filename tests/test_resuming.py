"""A run that goes on from a checkpoint equals one never stopped, to the bit, whatever is chosen beside what."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bench.config import RunConfig
from tests.designs import Case, covering, every_case
from tests.pool import Pool
from tests.resuming import alone, by_ranks, check
from tests.test_equality import ADAMW, SGD, small_network
from tests.test_every_choice import possible, run_of

RMSPROP = {"_target_": "tests.outside.steps.RMSProp", "name": "rmsprop", "alpha": 0.9}
CHOICES: dict[str, list[Any]] = {
    "stages": [3, 2, 1],
    "replicas": [2, 1],
    "staleness": [0, 1, 2],
    "weights": ["stashed", "latest", "recomputed"],
    "optimizer": [SGD, ADAMW, RMSPROP],
    "correction": [
        {"name": "none"},
        {"name": "shrink", "beta": 0.75},
        {"name": "lr_discount", "until": 0.6},
        {"name": "weight_prediction"},
    ],
    "averaging": [{"name": "allreduce"}, {"name": "gossip", "graph": "ring"}],
    "flush_every": [None, 4],
    "precision": ["float32", "float64"],
}
GRIDS = list(product(CHOICES["stages"], CHOICES["replicas"]))


def on_grid(cases: list[Case], grid: tuple[int, int]) -> list[RunConfig]:
    """The runs on one grid, of ten updates and then nine."""
    chosen = [case for case in cases if (case["stages"], case["replicas"]) == grid]
    return [run_of({**case, "max_steps": 19}) for case in chosen]


def check_all(pool: Pool, runs: list[RunConfig], folder: Path) -> None:
    """Stop each at its first flush point: behind ten updates, or four, with the epoch's losses so far."""
    for resumed in by_ranks(pool, runs, folder, small_network):
        check(resumed)
    for run in runs:
        check(alone(replace(run, engine="reference"), folder, small_network))


@pytest.fixture(scope="module")
def design() -> list[Case]:
    return covering(CHOICES, possible)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_any_two_choices_go_on(pool: Pool, design: list[Case], grid: tuple[int, int], tmp_path: Path) -> None:
    check_all(pool, on_grid(design, grid), tmp_path)


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("optimizer", CHOICES["optimizer"], ids=lambda optimizer: optimizer["name"])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_all_choices_go_on(pool: Pool, grid: tuple[int, int], optimizer: dict[str, Any], tmp_path: Path) -> None:
    narrowed = {**CHOICES, "stages": [grid[0]], "replicas": [grid[1]], "optimizer": [optimizer]}
    runs = on_grid(every_case(narrowed, possible), grid)
    for first in range(0, len(runs), 20):
        check_all(pool, runs[first : first + 20], tmp_path)
