"""Learning rates by hand."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.rule.convergence import bound_of, shape_of
from bench.rule.lr.constant import Constant
from bench.rule.lr.contract import LearningRate, Length
from bench.rule.lr.cosine import Cosine
from bench.rule.lr.exponential import Exponential
from bench.rule.lr.inverse_log import InverseLog
from bench.rule.lr.inverse_root import InverseRoot
from bench.rule.lr.inverse_time import InverseTime
from bench.rule.lr.linear import Linear
from bench.rule.lr.multistep import MultiStep
from bench.rule.lr.onecycle import OneCycle
from bench.rule.lr.plateau_polynomial import PlateauPolynomial
from bench.rule.lr.polynomial import Polynomial
from bench.rule.lr.warmup_stable_decay import WarmupStableDecay

KINDS = {
    "constant": Constant,
    "multistep": MultiStep,
    "cosine": Cosine,
    "linear": Linear,
    "exponential": Exponential,
    "onecycle": OneCycle,
    "warmup_stable_decay": WarmupStableDecay,
    "polynomial": Polynomial,
    "inverse_time": InverseTime,
    "inverse_log": InverseLog,
    "inverse_root": InverseRoot,
    "plateau_polynomial": PlateauPolynomial,
}
REST: dict[str, dict[str, Any]] = {
    "multistep": {"milestones": [2, 3], "factor": 0.5},
    "exponential": {"factor": 0.25},
    "onecycle": {"rise": 0.5, "start": 0.25},
    "warmup_stable_decay": {"decay": 0.5, "fall": "straight"},
    "polynomial": {"t0": 2.0, "p": 0.75},
    "inverse_time": {"t0": 2.0},
    "inverse_log": {"t0": 2.0},
    "inverse_root": {"t0": 2.0},
    "plateau_polynomial": {"t0": 2.0, "p": 0.75},
}


def build(name: str, warmup_steps: int = 0, **changes: Any) -> LearningRate:
    keys = {"gamma0": 0.8, "staleness_power": 0.0, "require_convergent": False, **REST.get(name, {}), **changes}
    schedule: LearningRate = KINDS[name](warmup_steps=warmup_steps, **keys)
    return schedule


FALLING = [
    0.769551813004515,
    0.682842712474619,
    0.553073372946036,
    0.4,
    0.246926627053964,
    0.117157287525381,
    0.0304481869954851,
]
"""The values of 0.4 * (1 + cos(pi * t / 8)) for t = 1 .. 7."""


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (build("constant"), [0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]),
        (build("constant", 4), [0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8]),
        (build("constant", 1), [0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]),
        (build("multistep"), [0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.2, 0.2]),
        (build("multistep", 5), [0.16, 0.32, 0.48, 0.64, 0.4, 0.4, 0.2, 0.2]),
        (build("cosine"), [0.8, *FALLING]),
        (build("cosine", 2), [0.4, *FALLING]),
        (build("cosine", floor=0.25), [0.8, *(0.2 + 0.75 * rate for rate in FALLING)]),
        (build("linear"), [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        (build("linear", 4), [0.2, 0.35, 0.45, 0.5, 0.4, 0.3, 0.2, 0.1]),
        (build("warmup_stable_decay"), [0.8, 0.8, 0.8, 0.8, 0.8, 0.6, 0.4, 0.2]),
        (build("warmup_stable_decay", 2, decay=0.25), [0.4, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.4]),
        # Three and a half updates fall, from the middle of the fifth on: by 1/7, 3/7 and 5/7.
        (
            build("warmup_stable_decay", decay=0.4375),
            [0.8, 0.8, 0.8, 0.8, 0.8, 0.8 * 6 / 7, 0.8 * 4 / 7, 0.8 * 2 / 7],
        ),
        # By the roots of 0, 1/4, 1/2 and 3/4.
        (
            build("warmup_stable_decay", fall="root"),
            [0.8, 0.8, 0.8, 0.8, 0.8, 0.4, 0.234314575050762, 0.107179676972449],
        ),
        (build("warmup_stable_decay", decay=1.0), [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        # 0.8 sqrt(2/3), 0.8 sqrt(2/4) and so on.
        (
            build("inverse_root"),
            [
                0.8,
                0.8,
                0.653197264742181,
                0.565685424949238,
                0.505964425626941,
                0.461880215351701,
                0.427617987059879,
                0.4,
            ],
        ),
        (build("inverse_root", 4, t0=4.0), [0.2, 0.4, 0.6, 0.8, *(0.8 * (4 / t) ** 0.5 for t in range(5, 9))]),
        (build("exponential"), [0.8, 0.4, 0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625]),
        (build("exponential", factor=1.0), [0.8] * 8),
        # 0.2 + 0.3 (1 - cos(pi t / 4)), then 0.4 (1 + cos(pi t / 4)).
        (
            build("onecycle"),
            [0.2, 0.287867965644036, 0.5, 0.712132034355964, 0.8, 0.682842712474619, 0.4, 0.117157287525381],
        ),
        (build("onecycle", rise=0.0), [0.8, *FALLING]),
        (build("inverse_time"), [0.8, 0.8 / 1.5, 0.4, 0.32, 0.8 / 3, 0.8 / 3.5, 0.2, 0.8 / 4.5]),
        (build("polynomial", p=1.0), [0.8, 0.8 / 1.5, 0.4, 0.32, 0.8 / 3, 0.8 / 3.5, 0.2, 0.8 / 4.5]),
        (build("polynomial", p=2.0, t0=1.0), [0.8 / n**2 for n in range(1, 9)]),
        (build("plateau_polynomial", p=1.0, t0=1.0), [0.8, 0.8, 0.4, 0.4, 0.8 / 3, 0.8 / 3, 0.2, 0.2]),
        (
            build("inverse_log"),
            [
                0.8,
                0.684434809052045,
                0.609170287691728,
                0.555776362615257,
                0.515648410037406,
                0.484212201820626,
                0.458802837103441,
                0.437758022561616,
            ],
        ),
    ],
)
def test_eight_updates_in_epochs_of_two(schedule: LearningRate, expected: list[float]) -> None:
    rates = [schedule.rate(step, steps=8, steps_per_epoch=2) for step in range(8)]
    assert rates == pytest.approx(expected, rel=1e-12)


def test_a_milestone_counts_whole_epochs() -> None:
    schedule = build("multistep")
    assert [schedule.rate(step, steps=400, steps_per_epoch=100) for step in (199, 200, 299, 300, 399)] == pytest.approx(
        [0.8, 0.4, 0.4, 0.2, 0.2]
    )


def test_no_milestones_leave_the_rate_alone() -> None:
    schedule = build("multistep", milestones=[])
    assert [schedule.rate(step, steps=4, steps_per_epoch=1) for step in range(4)] == [0.8] * 4


@given(st.sampled_from(list(KINDS)), st.integers(1, 50), st.integers(0, 99))
def test_warmup_scales_what_the_rate_would_be(name: str, warmup_steps: int, step: int) -> None:
    settled = build(name).rate(step, steps=100, steps_per_epoch=20)
    expected = settled * min(1, (step + 1) / warmup_steps)
    assert build(name, warmup_steps).rate(step, steps=100, steps_per_epoch=20) == pytest.approx(expected)


@given(st.integers(1, 300))
def test_the_cosine_falls_from_gamma0_to_above_zero(steps: int) -> None:
    rates = [build("cosine").rate(step, steps, steps_per_epoch=10) for step in range(steps)]
    assert rates[0] == 0.8
    assert all(later < earlier for earlier, later in pairwise(rates))
    assert rates[-1] > 0


def test_the_peak_is_that_of_the_run() -> None:
    """A warm-up that the run ends in never gets to gamma0; one over a falling rate not quite."""
    assert build("constant", 16).peak(8, 2) == 0.4
    assert build("inverse_time", 3).peak(8, 2) == pytest.approx(0.4)
    assert build("onecycle").peak(8, 2) == 0.8


@given(st.sampled_from(list(KINDS)), st.integers(0, 60), st.integers(1, 50), st.integers(1, 9), st.floats(0, 0.99))
def test_the_peak_is_found_without_a_walk(
    name: str, warmup_steps: int, steps: int, per_epoch: int, rise: float
) -> None:
    """A run may have a billion updates."""
    schedule = build(name, warmup_steps, **({"rise": rise} if name == "onecycle" else {}))
    assert schedule.peak(steps, per_epoch) == max(schedule.rate(step, steps, per_epoch) for step in range(steps))


def test_an_inverse_root_never_falls_before_the_first_update() -> None:
    """However short the run of a study's trial."""

    def least(name: str, log: bool = False) -> float:  # noqa: ARG001
        return 0.01

    assert InverseRoot.search(least, Length(40, 10)) == {"t0": 1.0}
    assert InverseRoot.search(least, Length(400, 10)) == {"t0": 4.0}


@pytest.mark.parametrize(
    ("power", "expected"), [(0.0, [1, 1, 1]), (1.0, [1, 1 / 3, 1 / 5]), (0.5, [1, 3**-0.5, 5**-0.5])]
)
def test_the_share_of_a_stale_stage(power: float, expected: list[float]) -> None:
    assert [build("constant", staleness_power=power).share(delay) for delay in (0, 2, 4)] == pytest.approx(expected)


# --------------------------------------------------------------------------------------------------------------- shapes
CONVERGENT, NEIGHBOURHOOD, ENDS = "convergent", "neighbourhood", "ends"
E = 1e-9

SHAPES: list[tuple[str, dict[str, Any], str]] = [
    ("constant", {}, NEIGHBOURHOOD),
    ("constant", {"gamma0": 1e-9}, NEIGHBOURHOOD),
    ("constant", {"gamma0": 1e9}, NEIGHBOURHOOD),
    ("constant", {"warmup_steps": 1000}, NEIGHBOURHOOD),
    ("constant", {"staleness_power": 1.0}, NEIGHBOURHOOD),
    ("multistep", {}, NEIGHBOURHOOD),
    ("multistep", {"milestones": []}, NEIGHBOURHOOD),
    ("multistep", {"factor": 1.0}, NEIGHBOURHOOD),
    ("multistep", {"milestones": list(range(1, 100)), "factor": 1e-3}, NEIGHBOURHOOD),
    ("multistep", {"warmup_steps": 5}, NEIGHBOURHOOD),
    ("cosine", {}, ENDS),
    ("cosine", {"gamma0": 1e-3}, ENDS),
    ("cosine", {"warmup_steps": 1}, ENDS),
    ("cosine", {"warmup_steps": 10**6}, ENDS),
    ("cosine", {"floor": 0.1}, NEIGHBOURHOOD),
    ("cosine", {"floor": E}, NEIGHBOURHOOD),
    ("cosine", {"floor": 0.1, "warmup_steps": 3}, NEIGHBOURHOOD),
    ("linear", {}, ENDS),
    ("linear", {"warmup_steps": 10}, ENDS),
    ("warmup_stable_decay", {}, ENDS),
    ("warmup_stable_decay", {"decay": E}, ENDS),
    ("warmup_stable_decay", {"fall": "root"}, ENDS),
    ("warmup_stable_decay", {"warmup_steps": 10}, ENDS),
    ("inverse_root", {}, NEIGHBOURHOOD),
    ("inverse_root", {"t0": 1e9}, NEIGHBOURHOOD),
    ("inverse_root", {"warmup_steps": 2}, NEIGHBOURHOOD),
    ("exponential", {}, ENDS),
    ("exponential", {"factor": 1e-6}, ENDS),
    ("exponential", {"factor": 1 - E}, ENDS),
    ("exponential", {"factor": 1.0}, NEIGHBOURHOOD),
    ("exponential", {"warmup_steps": 50}, ENDS),
    ("onecycle", {}, ENDS),
    ("onecycle", {"rise": E}, ENDS),
    ("onecycle", {"rise": 0.0}, ENDS),
    ("onecycle", {"start": 1.0}, ENDS),
    ("onecycle", {"warmup_steps": 3}, ENDS),
    ("polynomial", {"p": 0.1}, NEIGHBOURHOOD),
    ("polynomial", {"p": 0.5 - E}, NEIGHBOURHOOD),
    ("polynomial", {"p": 0.5}, NEIGHBOURHOOD),
    ("polynomial", {"p": 0.5 + E}, CONVERGENT),
    ("polynomial", {"p": 0.75}, CONVERGENT),
    ("polynomial", {"p": 1.0 - E}, CONVERGENT),
    ("polynomial", {"p": 1.0}, CONVERGENT),
    ("polynomial", {"p": 1.0 + E}, ENDS),
    ("polynomial", {"p": 2.0}, ENDS),
    ("polynomial", {"t0": 1e-9}, CONVERGENT),
    ("polynomial", {"t0": 1e12}, CONVERGENT),
    ("polynomial", {"warmup_steps": 500}, CONVERGENT),
    ("polynomial", {"warmup_steps": 500, "p": 0.5}, NEIGHBOURHOOD),
    ("polynomial", {"staleness_power": 2.0}, CONVERGENT),
    ("inverse_time", {}, CONVERGENT),
    ("inverse_time", {"t0": 1e9}, CONVERGENT),
    ("inverse_time", {"warmup_steps": 7}, CONVERGENT),
    ("inverse_log", {}, NEIGHBOURHOOD),
    ("inverse_log", {"t0": 1e-6}, NEIGHBOURHOOD),
    ("inverse_log", {"warmup_steps": 9}, NEIGHBOURHOOD),
    ("plateau_polynomial", {"p": 0.5}, NEIGHBOURHOOD),
    ("plateau_polynomial", {"p": 0.5 + E}, CONVERGENT),
    ("plateau_polynomial", {"p": 1.0}, CONVERGENT),
    ("plateau_polynomial", {"p": 1.0 + E}, ENDS),
    ("plateau_polynomial", {"warmup_steps": 30}, CONVERGENT),
]


@pytest.mark.parametrize(("name", "keys", "word"), SHAPES, ids=str)
def test_the_shape_of_a_schedule(name: str, keys: dict[str, Any], word: str) -> None:
    found = shape_of(build(name, **keys))
    assert found.word == word
    assert found.why.startswith(build(name, **keys).long_run().text)


def test_the_bound_of_a_run() -> None:
    """By hand: rates of 0.5 and 0.25 sum to 0.75, and their squares to 0.3125."""
    found = bound_of([0.5, 0.25], smoothness=6.0)
    assert (found.distance, found.noise) == pytest.approx((2 / 0.75, 6 * 0.3125 / 0.75))
    assert bound_of([0.0], 6.0).distance == math.inf


@given(st.sampled_from(list(KINDS)), st.floats(0.1, 5.0))
def test_the_bound_goes_where_the_shape_says(name: str, t0: float) -> None:
    """It is taken of ten times as many updates: both terms fall where the shape is convergent, and the second one stays
    where the rate does."""
    keys: dict[str, Any] = {"t0": t0} if "t0" in REST.get(name, {}) else {}
    schedule = build(name, **keys)
    few, many = (bound_of([schedule.rate(n, 4000, 10) for n in range(steps)], 1.0) for steps in (400, 4000))
    assert many.distance <= few.distance
    if shape_of(schedule).word == CONVERGENT:
        assert many.noise < few.noise
    if name == "constant":
        assert many.noise == pytest.approx(0.8)


# ------------------------------------------------------------------------------------- the analysis against the numbers
UPDATES = 4000
POWERS = st.floats(0.05, 3.0).filter(lambda p: abs(p - 1) > 1e-3 and abs(2 * p - 1) > 1e-3)


def integral(t0: float, p: float, updates: float) -> float:
    """The integral of (1 + t/t0)^-p from 0 to so many updates; p is not 1."""
    return t0 * (math.pow(1 + updates / t0, 1 - p) - 1) / (1 - p)


@given(POWERS, st.floats(0.5, 500.0), st.sampled_from([1, 2]))
def test_partial_sums_lie_between_the_integrals_that_decide(p: float, t0: float, exponent: int) -> None:
    """A decreasing term: the integral from 0 to N is less than the sum of N terms, which is less than it and 1.

    And the integral goes to infinity exactly where the shape says that the sum does.
    """
    schedule = build("polynomial", gamma0=1.0, t0=t0, p=p)
    terms = [schedule.rate(step, UPDATES, 10) ** exponent for step in range(UPDATES)]
    below = integral(t0, exponent * p, UPDATES)
    assert below * (1 - 1e-9) <= math.fsum(terms) <= below + 1
    bounded = exponent * p > 1
    end = schedule.long_run()
    assert bounded == (not end.infinite_sum if exponent == 1 else end.finite_squares)
    if bounded:
        assert math.fsum(terms) <= 1 + t0 / (exponent * p - 1)
    else:
        assert integral(t0, exponent * p, 1e300) > 10 * below


@given(POWERS, st.floats(0.5, 50.0), st.integers(1, 20))
def test_a_plateau_sums_as_its_epochs_do(p: float, t0: float, per_epoch: int) -> None:
    schedule = build("plateau_polynomial", gamma0=1.0, t0=t0, p=p)
    total = math.fsum(schedule.rate(step, 100 * per_epoch, per_epoch) for step in range(100 * per_epoch))
    below = integral(t0, p, 100)
    assert per_epoch * below * (1 - 1e-9) <= total <= per_epoch * (below + 1)


@given(st.floats(0.01, 0.99), st.integers(1, 50))
def test_a_geometric_sum_stays_under_its_limit(factor: float, per_epoch: int) -> None:
    schedule = build("exponential", gamma0=1.0, factor=factor)
    total = math.fsum(schedule.rate(step, UPDATES, per_epoch) for step in range(UPDATES))
    assert total <= 1 / (1 - factor ** (1 / per_epoch)) * (1 + 1e-9)


@given(st.floats(0.1, 100.0))
def test_squares_of_an_inverse_logarithm_outgrow_a_harmonic_sum(t0: float) -> None:
    """log(e + x)^2 <= e + x for x >= 0, so that a square is at least t0 / (e t0 + t), whose sum has no limit."""
    schedule = build("inverse_log", gamma0=1.0, t0=t0)
    for step in range(0, 10**6, 9973):
        assert schedule.rate(step, 10**6, 10) ** 2 >= t0 / (math.e * t0 + step) * (1 - 1e-12)


@given(st.sampled_from(list(KINDS)), st.integers(0, 30), st.integers(1, 40))
def test_it_falls_after_the_warm_up_where_it_does_not_climb(name: str, warmup_steps: int, per_epoch: int) -> None:
    schedule = build(name, warmup_steps)
    rates = [schedule.rate(step, 300, per_epoch) for step in range(warmup_steps, 300)]
    falls = all(later <= earlier for earlier, later in pairwise(rates))
    assert falls == (not schedule.climbs())
