"""Both engines compute the same, to the bit, whatever is chosen beside what: pair by pair, and in full."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import pytest

from bench.config import RunConfig
from bench.keys import ConfigError
from tests.both import assert_same, both
from tests.designs import Case, covering, drawn, every_case, in_full
from tests.pool import Pool
from tests.test_equality import ADAMW, SGD, configured, small_network
from tests.test_optimizers import VALUES

CHOICES: dict[str, list[Any]] = {
    # First what costs least, which is taken where it makes no difference.
    "stages": [2, 3, 1],
    "replicas": [1, 2],
    "staleness": [0, 1, 2, 3],
    "weights": ["stashed", "latest", "recomputed"],
    "optimizer": [SGD, ADAMW, VALUES["muon"], VALUES["soap"]],
    "correction": [
        {"name": "none"},
        {"name": "shrink", "beta": 0.75},
        {"name": "lr_discount", "until": 0.6},
        {"name": "weight_prediction"},
    ],
    "averaging": [{"name": "allreduce"}, {"name": "gossip", "graph": "ring"}],
    "clip": [{"name": "none"}, {"name": "stage", "norm": 0.8}, {"name": "network", "norm": 0.8}],
    "flush_every": [None, 4],
    "precision": ["float64", "float32", "bfloat16"],
    "channels_last": [False, True],
}
PLAIN: Case = {
    "staleness": 0,
    "weights": "stashed",
    "correction": {"name": "none"},
    "averaging": {"name": "allreduce"},
    "clip": {"name": "stage", "norm": 0.8},
}
"""What makes no difference: other choices may be equivalent to these, as gossip is with one replica."""
ROUNDING = {"float64": 1e-12, "float32": 1e-6, "bfloat16": 1e-6}
"""The largest relative error of a loss, which is a sum of float32 but in float64."""
GRIDS = list(product(CHOICES["stages"], CHOICES["replicas"]))


def run_of(case: Case) -> RunConfig:
    """Ten updates and then three, with a flush between."""
    return configured(**{"stages": 1, "replicas": 1, "max_steps": 13, **case})


def counts(case: Case, run_of: Callable[[Case], RunConfig]) -> bool:
    """Whether there is such a run, and each of its choices makes a difference."""
    name = _name(repr(case), run_of)
    plainer = [{**case, key: PLAIN[key]} for key in case.keys() & PLAIN.keys() if case[key] != PLAIN[key]]
    return name is not None and all(_name(repr(other), run_of) not in (None, name) for other in plainer)


@cache
def _name(case: str, run_of: Callable[[Case], RunConfig]) -> str | None:
    """The run's hash, which is asked for again and again; None where there is no such run."""
    try:
        return run_of(ast.literal_eval(case)).hash()
    except ConfigError:
        return None


def possible(case: Case) -> bool:
    return counts(case, run_of)


def on_grid(cases: list[Case], grid: tuple[int, int]) -> list[RunConfig]:
    return [run_of(case) for case in cases if (case["stages"], case["replicas"]) == grid]


def check(pool: Pool, runs: list[RunConfig]) -> None:
    """Check every parameter and statistic of runs by both engines, and what is reported of them."""
    for run, (ran, expected) in zip(runs, both(pool, runs, small_network), strict=True):
        assert ran.epochs[-1]["step"] == expected.epochs[-1]["step"] == 13
        assert_same(ran.state, expected.state, str(run.resolved()))
        for name in ("loss/train", "loss/test"):
            assert ran.metrics[name] == pytest.approx(expected.metrics[name], rel=ROUNDING[run.precision])
        assert ran.metrics["accuracy/test"] == expected.metrics["accuracy/test"]


@pytest.fixture(scope="module")
def design() -> list[Case]:
    return covering(CHOICES, possible)


@pytest.mark.parametrize("grid", [*GRIDS[:-1], *in_full((GRIDS[-1],))], ids=str)
def test_any_two_choices_go_together(pool: Pool, design: list[Case], grid: tuple[int, int]) -> None:
    check(pool, on_grid(design, grid))


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_all_choices_go_together(pool: Pool, grid: tuple[int, int]) -> None:
    """Each delay, mode, correction, averaging and flush point; with each of them one of what they do not look at."""
    narrowed = {**CHOICES, "stages": [grid[0]], "replicas": [grid[1]]}
    others = {key: narrowed.pop(key) for key in ("optimizer", "clip", "precision", "channels_last")}
    runs = on_grid([*drawn(every_case(narrowed, possible), others, possible)], grid)
    for first in range(0, len(runs), 20):
        check(pool, runs[first : first + 20])
