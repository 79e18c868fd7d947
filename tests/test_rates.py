"""Learning rates by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.config import Constant, Cosine, LearningRate, MultiStep
from bench.plan.rates import rate


def constant(warmup_steps: int = 0) -> Constant:
    return Constant(name="constant", gamma0=0.8, warmup_steps=warmup_steps)


def multistep(warmup_steps: int = 0) -> MultiStep:
    return MultiStep(name="multistep", gamma0=0.8, milestones=[2, 3], factor=0.5, warmup_steps=warmup_steps)


def cosine(warmup_steps: int = 0) -> Cosine:
    return Cosine(name="cosine", gamma0=0.8, warmup_steps=warmup_steps)


FALLING = [
    0.769551813004515,
    0.682842712474619,
    0.553073372946036,
    0.4,
    0.246926627053964,
    0.117157287525381,
    0.0304481869954851,
]
"""0.4 * (1 + cos(pi * t / 8)) for t = 1 .. 7."""


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (constant(), [0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]),
        (constant(4), [0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8]),
        (constant(1), [0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]),
        (multistep(), [0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.2, 0.2]),
        (multistep(5), [0.16, 0.32, 0.48, 0.64, 0.4, 0.4, 0.2, 0.2]),
        (cosine(), [0.8, *FALLING]),
        (cosine(2), [0.4, *FALLING]),
    ],
)
def test_eight_updates_in_epochs_of_two(schedule: LearningRate, expected: list[float]) -> None:
    rates = [rate(schedule, step, steps=8, steps_per_epoch=2) for step in range(8)]
    assert rates == pytest.approx(expected, rel=1e-12)


def test_a_milestone_counts_whole_epochs() -> None:
    schedule = multistep()
    assert [
        rate(schedule, step, steps=400, steps_per_epoch=100) for step in (199, 200, 299, 300, 399)
    ] == pytest.approx([0.8, 0.4, 0.4, 0.2, 0.2])


def test_no_milestones_leave_the_rate_alone() -> None:
    schedule = MultiStep(name="multistep", gamma0=0.8, milestones=[], factor=0.5, warmup_steps=0)
    assert [rate(schedule, step, steps=4, steps_per_epoch=1) for step in range(4)] == [0.8] * 4


@given(st.sampled_from([constant, multistep, cosine]), st.integers(1, 50), st.data())
def test_warmup_scales_what_the_rate_would_be(
    build: Callable[[int], LearningRate], warmup_steps: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, 99))
    settled = rate(build(0), step, steps=100, steps_per_epoch=20)
    expected = settled * min(1, (step + 1) / warmup_steps)
    assert rate(build(warmup_steps), step, steps=100, steps_per_epoch=20) == pytest.approx(expected)


@given(st.integers(1, 300))
def test_the_cosine_falls_from_gamma0_to_above_zero(steps: int) -> None:
    rates = [rate(cosine(), step, steps, steps_per_epoch=10) for step in range(steps)]
    assert rates[0] == 0.8
    assert all(later < earlier for earlier, later in pairwise(rates))
    assert rates[-1] > 0
