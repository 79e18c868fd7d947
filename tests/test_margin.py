"""The curvature and the margin along a run: what they are, when they are told, and that they change nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.config import RunConfig
from bench.engine.measure.curvature import CurvatureOnTheWay, curvatures
from bench.rule.stability import largest_step
from bench.study.report.picture.margin import Margins
from bench.study.report.pictures import draw_all
from bench.study.report.result import Run, read_run
from bench.task.build import build
from tests import tiny
from tests.both import both, oracle
from tests.pool import Pool
from tests.records import record_of

TOLD = ("lr/curvature", "lr/margin")


def run(every: int, **changes: Any) -> RunConfig:
    lr = {**tiny.VALUES["lr"], "margin_every": every}
    return tiny.config(**{"stages": 2, "staleness": 2, "lr": lr, "epochs": 4, **changes})


def numbers(epochs: list[dict[str, Any]], *but: str) -> list[dict[str, Any]]:
    clocks = ("time/train_seconds", "throughput/images_per_second", "throughput/units_per_second")
    return [{key: value for key, value in epoch.items() if key not in (*clocks, *but)} for epoch in epochs]


def test_it_is_told_at_every_so_many_flush_points_and_changes_nothing() -> None:
    """Not by a bit; nor does a key that is off change a run's name."""
    without, told = (oracle(run(every)).epochs for every in (0, 2))
    assert [all(name in epoch for name in TOLD) for epoch in told] == [False, True, False, True]
    assert not any(name in epoch for name in TOLD for epoch in without)
    assert numbers(told, *TOLD) == numbers(without)
    assert run(0).hash() == tiny.config(stages=2, staleness=2, epochs=4).hash() != run(2).hash()


def test_the_margin_is_of_the_rate_by_then() -> None:
    """It is that of stage 0, at a delay of 2 and a momentum of 0.9, by the cosine's rate at the update before."""
    lr = {**tiny.VALUES["lr"], "name": "cosine", "margin_every": 1, "warmup_steps": 0}
    for epoch in oracle(run(1, lr=lr, epochs=3)).epochs:
        assert epoch["lr/margin"] == pytest.approx(epoch["lr"] * epoch["lr/curvature"] / largest_step(0.9, 2))


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": {"name": "adamw", "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}},
        {"weights": "latest"},
    ],
)
def test_where_no_limit_is_known_there_is_the_curvature_alone(changes: dict[str, Any]) -> None:
    (epoch,) = oracle(run(1, epochs=1, **changes)).epochs
    assert [name in epoch for name in TOLD] == [True, False]


def test_processes_tell_what_the_oracle_does(pool: Pool) -> None:
    for workers, told in both(pool, [run(2), run(1, weights="latest", epochs=1)]):
        assert numbers(workers.epochs) == numbers(told.epochs)


def test_it_is_the_curvature_of_the_first_images() -> None:
    """At the weights that a run starts at, of the batch that its estimate begins with; and NaN at no number."""
    config = run(1)
    dataset = tiny.dataset_of(config)
    torch.manual_seed(config.seed)
    state = build(config.model, dataset).double().state_dict()
    before = torch.get_rng_state()
    found = CurvatureOnTheWay(config, dataset, torch.device("cpu"))
    assert found.at(state) == pytest.approx(curvatures(config, dataset, 1)[0], rel=1e-3)
    assert found.at(state) == found.at(state)
    first = next(iter(state))
    assert math.isnan(found.at({**state, first: state[first] * math.nan}))
    torch.set_rng_state(before)
    CurvatureOnTheWay(config, dataset, torch.device("cpu")).at(state)
    assert torch.equal(torch.get_rng_state(), before)


# --------------------------------------------------------------------------------------------------------- the picture
def told(margins: list[float | None], seed: int) -> Run:
    """A run with the rates 0.2 and 0.1 and these margins at its two flush points."""
    record = record_of(tiny.config(stages=2, seed=seed), accuracies=[0.5, 0.9])
    for epoch, rate, margin in zip(record["epochs"], (0.2, 0.1), margins, strict=True):
        epoch.update({"lr": rate}, **({} if margin is None else {"lr/margin": margin}))
    return read_run(record)


def test_the_picture_has_the_rate_the_limit_and_the_margin() -> None:
    """Each is the geometric mean over the seeds, so that the margin stays the rate over the limit, and no interval
    reaches 0; limits are 0.4 and 0.2, and 0.1 and 0.05."""
    runs = [told([0.5, 0.5], 0), told([2.0, 2.0], 1)]
    rates, margins = Margins().panels(runs)
    rate, limit = rates.series
    assert [mark.x.mean for mark in rate.marks] == [10, 20]
    assert [mark.y.mean for mark in rate.marks] == pytest.approx([0.2, 0.1])
    assert [mark.y.mean for mark in limit.marks] == pytest.approx([0.2, 0.1])
    margin, edge = margins.series
    assert [mark.y.mean for mark in margin.marks] == pytest.approx([1.0, 1.0])
    assert all(0 < mark.y.low < mark.y.mean < mark.y.high for mark in (*limit.marks, *margin.marks))
    assert [(mark.x.mean, mark.y.mean) for mark in edge.marks] == [(10, 1), (20, 1)]
    assert all(mark.runs == tuple(run.name for run in runs) for series in rates.series for mark in series.marks)


def test_a_flush_point_without_a_margin_is_no_mark() -> None:
    rates, margins = Margins().panels([told([None, 0.5], 0), told([0.5, 0.5], 1)])
    assert [len(series.marks) for series in rates.series] == [1, 1]
    assert [mark.x.mean for mark in margins.series[0].marks] == [20]


def test_the_picture_is_of_runs_that_tell_their_margin(tmp_path: Path) -> None:
    """Where there are none, there is no picture."""
    silent, loud = told([None, None], 0), told([0.5, 0.25], 1)
    assert "margin" not in [chart.name for chart in draw_all([silent], tmp_path)]
    assert not (tmp_path / "margin.png").exists()
    (chart,) = [chart for chart in draw_all([silent, loud], tmp_path) if chart.name == "margin"]
    assert (tmp_path / "margin.png").read_bytes().startswith(b"\x89PNG")
    ((_, panels),) = chart.workloads
    assert {mark.runs for series in panels[0].series for mark in series.marks} == {(loud.name,)}
