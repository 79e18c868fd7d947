"""The curvature and the margin along a run: what they are, when they are told, and that they change nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from bench.config import RunConfig
from bench.engine.measure.curvature import CurvatureOnTheWay, curvatures
from bench.rule.stability import largest_step
from bench.task.build import build
from tests import tiny
from tests.both import both, oracle
from tests.pool import Pool

TOLD = ("lr/curvature", "lr/margin")


def run(every: int, **changes: Any) -> RunConfig:
    lr = {**tiny.VALUES["lr"], "margin_every": every}
    return tiny.config(**{"stages": 2, "staleness": 2, "lr": lr, "epochs": 4, **changes})


def numbers(epochs: list[dict[str, Any]], *but: str) -> list[dict[str, Any]]:
    clocks = ("time/train_seconds", "throughput/images_per_second")
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
    state = build(config.model, dataset.image_shape, dataset.classes).double().state_dict()
    before = torch.get_rng_state()
    found = CurvatureOnTheWay(config, dataset, torch.device("cpu"))
    assert found.at(state) == pytest.approx(curvatures(config, dataset, 1)[0], rel=1e-3)
    assert found.at(state) == found.at(state)
    first = next(iter(state))
    assert math.isnan(found.at({**state, first: state[first] * math.nan}))
    torch.set_rng_state(before)
    CurvatureOnTheWay(config, dataset, torch.device("cpu")).at(state)
    assert torch.equal(torch.get_rng_state(), before)
