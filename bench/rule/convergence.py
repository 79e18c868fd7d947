"""What is proven of training with a learning rate on delayed gradients, condition by condition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.rule.lr.contract import LearningRate


@dataclass(frozen=True)
class Condition:
    """One of the theorem's conditions, and how a schedule stands to it."""

    name: str
    holds: bool
    why: str


@dataclass(frozen=True)
class Verdict:
    """What is proven of training with a schedule."""

    word: Literal["convergent", "neighbourhood", "none"]
    """All conditions hold; they hold but for a constant step at the end, so that a neighbourhood is reached; or
    neither."""
    conditions: tuple[Condition, ...]

    @property
    def failed(self) -> list[Condition]:
        return [condition for condition in self.conditions if not condition.holds]


@dataclass(frozen=True)
class Limit:
    """One stage's largest rate in a run, and what it may be (:func:`cap`)."""

    rate: float
    cap: float


def verdict(schedule: LearningRate, limits: Sequence[Limit] = ()) -> Verdict:
    """Judge which conditions hold, one by one.

    Args:
        limits: each stage's; none where the loss's smoothness is not known, and the condition on it is left out.
    """
    end = schedule.long_run()
    conditions = (
        _falling(schedule),
        *([_bounded(limits)] if limits else []),
        Condition("sum of rates infinite", end.infinite_sum, end.text),
        Condition("sum of squares finite", end.finite_squares, end.text),
    )
    failed = [condition.name for condition in conditions if not condition.holds]
    if not failed:
        return Verdict("convergent", conditions)
    near = end.constant and failed == ["sum of squares finite"]
    return Verdict("neighbourhood" if near else "none", conditions)


def cap(smoothness: float, delay: int) -> float:
    """The largest step size of a stage: 1/L of the theorem, and (2/L) sin(pi / (4 tau + 2)), beyond which a step with
    gradients ``delay`` updates old is unstable on a quadratic of curvature L (``tests/test_stability.py``)."""
    return min(1.0, 2 * math.sin(math.pi / (4 * delay + 2))) / smoothness


def _falling(schedule: LearningRate) -> Condition:
    name = "never increases"
    if rise := schedule.climbs():
        return Condition(name, False, f"climbs over {rise:g} of the run")
    after = f"after a warm-up of {schedule.warmup_steps} updates, a finite beginning" if schedule.warmup_steps else ""
    return Condition(name, True, after or "from the first update on")


def _bounded(limits: Sequence[Limit]) -> Condition:
    stage = max(range(len(limits)), key=lambda k: limits[k].rate / limits[k].cap)
    rate, cap = limits[stage].rate, limits[stage].cap
    sign = "at most" if rate <= cap else "above"
    return Condition("rates within the caps", rate <= cap, f"{rate:.4g} is {sign} the cap {cap:.4g} of stage {stage}")
