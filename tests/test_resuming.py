"""A run that goes on from a checkpoint equals one never stopped, to the bit, whatever is chosen beside what."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import Store

from bench.config import RunConfig
from bench.engine.checkpoint import Place
from bench.engine.train import train
from bench.record.checkpoints import Checkpoints
from bench.task.build import build
from tests import tiny
from tests.both import Ran, assert_same
from tests.designs import Case, covering, drawn, every_case, in_full
from tests.pool import Pool, joined
from tests.resuming import EVERY, alone, by_ranks, check, curves, stop_at
from tests.test_baselines import MLP, PIPELINES, RESNET
from tests.test_baselines import configured as of_baseline
from tests.test_equality import ADAMW, SGD, configured, dropout_network, small_network
from tests.test_every_choice import CHOICES as TOGETHER
from tests.test_every_choice import possible, run_of
from tests.test_optimizers import VALUES

RMSPROP = {"_target_": "tests.outside.steps.RMSProp", "name": "rmsprop", "alpha": 0.9}
CHOICES: dict[str, list[Any]] = {
    **{key: values for key, values in TOGETHER.items() if key != "channels_last"},
    "staleness": [0, 1, 2],
    "optimizer": [SGD, ADAMW, RMSPROP, *(VALUES[name] for name in ("nadamw", "lion", "muon", "soap"))],
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


@pytest.mark.parametrize("grid", [*GRIDS[:-1], *in_full((GRIDS[-1],))], ids=str)
def test_any_two_choices_go_on(pool: Pool, design: list[Case], grid: tuple[int, int], tmp_path: Path) -> None:
    check_all(pool, on_grid(design, grid), tmp_path)


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_all_choices_go_on(pool: Pool, grid: tuple[int, int], tmp_path: Path) -> None:
    """Each delay, mode, correction and averaging; with each of them one of what touches nothing of their state."""
    narrowed = {**CHOICES, "stages": [grid[0]], "replicas": [grid[1]]}
    others = {key: narrowed.pop(key) for key in ("optimizer", "clip", "flush_every", "precision")}
    runs = on_grid([*drawn(every_case(narrowed, possible), others, possible)], grid)
    for first in range(0, len(runs), 20):
        check_all(pool, runs[first : first + 20], tmp_path)


@pytest.mark.parametrize("grid", [(2, 1), *in_full(((2, 2),))], ids=str)
@pytest.mark.parametrize(
    "optimizers",
    [(SGD, ADAMW), *in_full(((ADAMW, SGD),))],
    ids=lambda pair: "-".join(optimizer["name"] for optimizer in pair),
)
def test_the_pipelines_go_on(
    pool: Pool, grid: tuple[int, int], optimizers: tuple[dict[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    """With two updates of the second epoch made, or of the first."""
    for stop, optimizer in zip((1, 4), optimizers, strict=True):
        runs = [
            of_baseline(*grid, method=method, microbatches=2, optimizer=optimizer, flush_every=2, max_steps=9)
            for method in PIPELINES
        ]
        for resumed in by_ranks(pool, runs, tmp_path / str(stop), build, stop):
            check(resumed)


@pytest.mark.parametrize("replicas", [1, 2])
def test_data_parallelism_goes_on(pool: Pool, replicas: int, tmp_path: Path) -> None:
    runs = [
        of_baseline(1, replicas, method="ddp", optimizer=optimizer, model=model, flush_every=every)
        for optimizer, model, every in [(SGD, RESNET, 3), (ADAMW, MLP, None), (RMSPROP, RESNET, None)]
    ]
    for resumed in by_ranks(pool, runs, tmp_path, build):
        check(resumed)


def test_curvature_and_margin_go_on(pool: Pool, tmp_path: Path) -> None:
    lr = {"name": "constant", "gamma0": 0.05, "warmup_steps": 3, "margin_every": 2}
    lr |= {"staleness_power": 0.0, "require_convergent": False}
    run = configured(2, 1, staleness=2, lr=lr, epochs=4)
    for resumed in by_ranks(pool, [run], tmp_path, build, 3):
        check(resumed)
        assert [epoch["epoch"] for epoch in resumed.ran.epochs if "lr/margin" in epoch] == [1, 3]


def test_dropout_goes_on(pool: Pool, tmp_path: Path) -> None:
    """Masks are drawn by what they are for, and not by what was drawn before."""
    run = configured(3, 1, staleness=2, partition=[1, 2], flush_every=4)
    for resumed in by_ranks(pool, [run], tmp_path, dropout_network, 3):
        check(resumed)


def test_without_staleness_flush_points_may_be_others(pool: Pool, tmp_path: Path) -> None:
    """They are no other run, and so a checkpoint within an epoch is gone on from without them."""
    runs = [configured(2, 1, staleness=0, flush_every=every) for every in (4, None)]
    assert runs[0].hash() == runs[1].hash()
    whole, ran, events = pool.run(of_other_flush_points, 2, runs, tmp_path)[0]
    assert [event["step"] for event in events if event["event"] == "resumed"] == [4]
    assert_same(ran.state, whole.state)
    assert curves(ran) == curves(whole)


def of_other_flush_points(store: Store, runs: list[RunConfig], folder: Path) -> tuple[Ran, Ran, list[Any]]:
    events: list[Any] = []
    place, dataset = Place(Checkpoints(folder), EVERY), tiny.dataset_of(runs[0])
    with joined(runs[0], store) as world:
        stop_at(runs[0], world, place, 1, [])
        ran = train(runs[1], dataset, world, events.append, place)
        return Ran.of(train(runs[1], dataset, world, lambda _: None)), Ran.of(ran), events
