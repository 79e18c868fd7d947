"""Corrections for staleness: rules by hand, the same bits in both engines, and none at staleness 0."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bench.config import RunConfig
from bench.engine.meter import Meter
from bench.engine.method.reference import Reference
from bench.engine.worker import Stretch
from bench.keys import ConfigError
from bench.rule.correction.contract import Correction
from bench.rule.correction.lr_discount import RateDiscount
from bench.rule.correction.none import NoCorrection
from bench.rule.correction.shrink import Shrink
from bench.rule.correction.weight_prediction import WeightPrediction
from bench.task.classification import IMAGES
from tests import tiny
from tests.both import assert_same, both, statistics
from tests.designs import in_full
from tests.pool import Pool
from tests.test_equality import configured, small_network
from tests.test_stability import CPU, CURVATURE, Quadratic, Shift, Zeros

NONE = NoCorrection()
CORRECTIONS: dict[str, Correction] = {
    "shrink": Shrink(0.75),
    "lr_discount": RateDiscount(0.6),
    "weight_prediction": WeightPrediction(),
}


# -------------------------------------------------------------------------------------------------------------- by hand
@pytest.mark.parametrize(
    ("delay", "expected"),
    # 4^-q and 2^-q for q = 1, 3/4, 1/2, 1/4, 0, 0 at updates 0, 1, 2, 3, 4, 5 of 10, of which the first 4 count.
    [(4, [1 / 4, 0.35355339, 1 / 2, 0.70710678, 1, 1]), (2, [1 / 2, 0.59460356, 0.70710678, 0.84089642, 1, 1])],
)
def test_the_discount_on_a_rate(delay: int, expected: list[float]) -> None:
    rule = RateDiscount(0.4)
    assert [rule.discount(delay, step, 10) for step in range(6)] == pytest.approx(expected)


def test_what_is_not_stale_is_not_corrected() -> None:
    assert [rule.discount(0, 0, 10) for rule in CORRECTIONS.values()] == [1, 1, 1]


def test_a_gradient_shrinks_at_every_boundary() -> None:
    """The first update, before any weights differ: stage 0's step is beta^2 of what it would be, stage 1's beta."""
    runs = [configured(3, 1, staleness=2, max_steps=1, engine="reference", optimizer=PLAIN) for _ in range(2)]
    runs[1] = replace(runs[1], correction=CORRECTIONS["shrink"])
    still = configured(3, 1, staleness=2, max_steps=1, engine="reference", optimizer=PLAIN, lr={**LR, "gamma0": 1e-300})
    start, plain, shrunk = (tiny.alone(run).state for run in (still, *runs))
    names = [name for name in start if start[name].is_floating_point() and not statistics(name)]
    assert {name.partition(".")[0] for name in names} >= {"0", "1", "4"}
    for name in names:
        layer = int(name.partition(".")[0])
        factor = 0.75 ** (2 if layer < 1 else 1 if layer < 3 else 0)
        torch.testing.assert_close(
            shrunk[name] - start[name], factor * (plain[name] - start[name]), rtol=1e-9, atol=1e-14
        )


LR = tiny.VALUES["lr"]
PLAIN = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, "nesterov": False}
MOMENTUM = {**PLAIN, "momentum": 0.5}


@pytest.mark.parametrize("correction", [NONE, CORRECTIONS["weight_prediction"]], ids=["none", "prediction"])
def test_a_forward_looks_as_far_ahead_as_its_gradient_will_be_late(correction: Any) -> None:
    """Stage 0 of 2 at staleness 2 on a quadratic, against the recursion written out for one weight.

    ``g_t = h (w_t - n lr v_t)`` is taken at update t and applied at update t + 2: ``v <- v/2 + g``, ``w <- w - lr v``.
    Two updates lie between, n = 2; but none after the first forward, and one after the second, of each stretch.
    """
    rate, updates, stretches = 0.05, 20, 2
    run = tiny.config(stages=2, staleness=2, engine="reference", optimizer=MOMENTUM)
    run = replace(run, correction=correction)
    modules = [Shift(1.0), Shift(0.0)]
    reference = Reference(run, Quadratic(CPU, torch.float64, False, False, IMAGES), [modules], [Zeros()], Meter(CPU))
    for epoch in range(stretches):
        for tick in reference.begin(Stretch(epoch, updates, epoch * updates, [[rate] * updates] * 2)):
            reference.step(tick)

    weight, velocity = 1.0, 0.0
    for _ in range(stretches):
        waiting: list[float] = []
        for tick in range(updates + 2):
            if tick < updates:
                ahead = min(tick, 2) * rate * velocity if correction is not NONE else 0.0
                waiting.append(CURVATURE * (weight - ahead))
            if tick >= 2:
                velocity = velocity / 2 + waiting[tick - 2]
                weight -= rate * velocity
    assert modules[0].weight.item() == pytest.approx(weight, rel=1e-12)


# ------------------------------------------------------------------------------------------------------------- engines
@pytest.mark.parametrize("replicas", [1, *in_full(2)])
@pytest.mark.parametrize("name", CORRECTIONS)
def test_both_engines_correct_alike(pool: Pool, name: str, replicas: int) -> None:
    """Every parameter and statistic to the bit, after 20 updates and a flush; and not what no correction gives."""
    plain = [configured(3, replicas, staleness=c) for c in (1, 2, 3)]
    runs = [replace(run, correction=CORRECTIONS[name]) for run in plain]
    answers = both(pool, [*runs, *plain], small_network)
    for number, (ran, expected) in enumerate(answers):
        assert_same(ran.state, expected.state, f"run {number}")
    for (ran, _), (other, _) in zip(answers[:3], answers[3:], strict=True):
        assert np.abs(ran.state["0.0.weight"] - other.state["0.0.weight"]).max() > 1e-6


@pytest.mark.full
@pytest.mark.parametrize("name", ["shrink", "lr_discount"])
def test_every_mode_and_optimizer_is_corrected_alike(pool: Pool, name: str) -> None:
    adamw = {"name": "adamw", "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.02}
    modes: list[dict[str, Any]] = [{"weights": "latest"}, {"weights": "recomputed"}, {"optimizer": adamw}]
    modes += [{"averaging": {"name": "gossip", "graph": "ring"}}, {"precision": "bfloat16"}]
    runs = [replace(configured(3, 2, staleness=2, **mode), correction=CORRECTIONS[name]) for mode in modes]
    for mode, (ran, expected) in zip(modes, both(pool, runs, small_network), strict=True):
        assert_same(ran.state, expected.state, str(mode))


def test_prediction_in_every_precision(pool: Pool) -> None:
    numbers: list[dict[str, Any]] = [{"precision": "bfloat16", "channels_last": True}, {"precision": "float32"}]
    nesterov = {"optimizer": {**tiny.VALUES["optimizer"], "nesterov": True}}
    runs = [configured(3, 2, staleness=2, **changes) for changes in (*numbers, nesterov)]
    runs = [replace(run, correction=CORRECTIONS["weight_prediction"]) for run in runs]
    for ran, expected in both(pool, runs, small_network):
        assert_same(ran.state, expected.state)


def test_without_staleness_no_bit_changes(pool: Pool) -> None:
    plain = configured(3, 2, staleness=0)
    runs = [plain, *(replace(plain, correction=rule) for rule in CORRECTIONS.values())]
    ((expected, _), *others) = both(pool, runs, small_network)
    for ran, oracle in others:
        assert_same(ran.state, expected.state)
        assert_same(oracle.state, expected.state)


# --------------------------------------------------------------------------------------------------------------- config
def corrected(**changes: Any) -> RunConfig:
    return tiny.config(**{"stages": 2, "staleness": 2, "correction": {"name": "weight_prediction"}, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"correction": {"name": "shrink", "beta": 0.0}}, "correction.beta=0.0: must be greater than 0"),
        ({"correction": {"name": "shrink", "beta": 1.5}}, "correction.beta=1.5: must be less than or equal to 1"),
        ({"correction": {"name": "lr_discount", "until": 0.0}}, "correction.until=0.0: must be greater than 0"),
        ({"weights": "latest"}, "correction=weight_prediction needs weights=stashed, not weights=latest"),
        ({"optimizer": PLAIN}, "needs an optimizer with momentum, not optimizer=sgd with optimizer.momentum=0"),
        (
            {"optimizer": {"name": "adamw", "betas": [0.9, 0.9], "eps": 1e-8, "weight_decay": 0.0}},
            "correction=weight_prediction needs an optimizer with momentum, not optimizer=adamw",
        ),
        (
            {"averaging": {"name": "gossip", "graph": "ring"}, "replicas": 2},
            "correction=weight_prediction needs averaging=allreduce, not averaging=gossip",
        ),
    ],
)
def test_a_correction_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        corrected(**changes)
    assert message in str(caught.value)


def test_a_correction_counts_where_there_is_staleness() -> None:
    """One that does nothing leaves a run the name that it had before there were any."""
    shrunk = {"correction": {"name": "shrink", "beta": 0.5}}
    assert corrected(**shrunk).hash() != corrected(correction={"name": "none"}).hash()
    assert corrected(**shrunk, staleness=0).hash() == corrected(correction={"name": "none"}, staleness=0).hash()
    assert corrected(**shrunk, stages=1).hash() == corrected(correction={"name": "none"}, stages=1).hash()
    assert "correction" not in corrected(correction={"name": "none"}).canonical()
