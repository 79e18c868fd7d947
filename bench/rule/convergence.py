"""What can be said of a run before it trains: its schedule's shape, whether a theorem covers it, and its margin.

The theorem is that of Huo et al. 2018 (arXiv 1804.10574, Theorem 2) for plain SGD on gradients of bounded age: with
rates gamma that never increase and stay within 1/L, where gradients are L-Lipschitz, the mean of the squared gradient
over the updates of a run, weighted by their rates, is at most::

    2 (f0 - f*) / sum(gamma) + L M sum(gamma^2) / sum(gamma)

where f falls from f0 to no less than f*, and M bounds the gradients' second moments, with a factor of the ages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from bench.choice import Choice, telling
from bench.plan.clock import Clock
from bench.rule.correction.contract import Correction
from bench.rule.lr.contract import LearningRate
from bench.rule.run_keys import RunKeys

COVERED = "plain SGD, stashed weights, averaged gradients of bounded age"
"""What the theorem speaks of."""


class WholeRun(RunKeys, Protocol):
    """The keys of a run that is judged, all of its choices among them."""

    @property
    def correction(self) -> Correction: ...
    @property
    def lr(self) -> LearningRate: ...
    @property
    def choices(self) -> Sequence[Choice]: ...


@dataclass(frozen=True)
class Shape:
    """What a schedule's sums do if training goes on for ever, and so the theorem's bound."""

    word: Literal["convergent", "neighbourhood", "ends"]
    """The bound goes to 0; or rates whose squares have no finite sum keep it from that, for all that is proven; or the
    rates have a finite sum, and so the first term never goes to 0."""
    why: str


@dataclass(frozen=True)
class FiniteBound:
    """The theorem's bound for the updates of one run: ``distance (f0 - f*) + noise M``."""

    distance: float
    """2 / sum(gamma)."""
    noise: float
    """L sum(gamma^2) / sum(gamma)."""


@dataclass(frozen=True)
class Limit:
    """One stage's largest rate in a run, and up to which rate its update is stable on a quadratic."""

    delay: int
    """The age of its gradients in updates."""
    rate: float
    stable: float | None
    """None where that is not known."""

    @property
    def margin(self) -> float | None:
        """The rate over the limit."""
        return None if self.stable is None else self.rate / self.stable


@dataclass(frozen=True)
class Verdict:
    """What is known of a run before it trains."""

    shape: Shape
    outside: tuple[str, ...]
    """What no theorem speaks of in it; nothing where it is covered."""
    bound: FiniteBound
    limits: tuple[Limit, ...]
    """Those of the stages."""

    @property
    def margin(self) -> float | None:
        """The largest margin of a stage; None where that of some stage is not known."""
        return margin_of(self.limits)

    @property
    def is_proven(self) -> bool:
        """Whether the schedule is convergent, the run covered, and no rate over its limit at the initial weights."""
        return self.shape.word == "convergent" and not self.outside and self.margin is not None and self.margin <= 1

    def record(self) -> dict[str, Any]:
        """What a record holds of it."""
        return {
            "shape": self.shape.word,
            "sums": self.shape.why,
            "bound": vars(self.bound),
            "covered": not self.outside,
            "outside": list(self.outside),
            "margin": self.margin,
            "limits": [vars(limit) for limit in self.limits],
        }

    def lines(self) -> list[str]:
        """What is known, a line each, with the bound of the run."""
        covered = f"no: {'; '.join(self.outside)}" if self.outside else f"yes, if the loss is smooth: {COVERED}"
        return [
            f"shape:   {self.shape.word} ({self.shape.why})",
            f"covered: {covered}",
            f"bound:   {self.bound.distance:.3g} (f0 - f*) + {self.bound.noise:.3g} M for this run's mean squared "
            "gradient, where the theorem holds",
            f"margin:  {self.margin_in_words()}",
        ]

    def margin_in_words(self) -> str:
        """The margin and its stage, or why there is none."""
        if self.margin is None:
            unknown = [str(stage) for stage, limit in enumerate(self.limits) if limit.stable is None]
            return f"not known: up to which rate the update is stable is not derived for stage {', '.join(unknown)}"
        stage = [limit.margin for limit in self.limits].index(self.margin)
        rate, stable = self.limits[stage].rate, self.limits[stage].stable
        return f"{self.margin:.3g}, the rate {rate:.4g} of stage {stage} over its limit {stable:.4g}"


def margin_of(limits: Sequence[Limit]) -> float | None:
    """The largest margin of a stage; None where that of some stage is not known."""
    margins = [limit.margin for limit in limits if limit.margin is not None]
    return max(margins) if len(margins) == len(limits) else None


def shape_of(schedule: LearningRate) -> Shape:
    """Tell what a schedule's sums do."""
    end = schedule.long_run()
    if not end.infinite_sum:
        return Shape("ends", f"{end.text}: the sum of the rates is finite")
    if not end.finite_squares:
        return Shape("neighbourhood", f"{end.text}: the sum of their squares is infinite")
    return Shape("convergent", f"{end.text}: an infinite sum, with a finite one of the squares")


def outside_of(run: WholeRun) -> tuple[str, ...]:
    """Tell what of a run no theorem speaks of, choice by choice."""
    found = []
    for choice in run.choices:
        with telling(type(choice)):
            if reason := choice.outside(run):
                found.append(f"{choice.group}={choice.name} {reason}")
    if run.weights != "stashed" and _is_stale(run):
        found.append(f"weights={run.weights} goes backward at other weights than forward")
    return tuple(found)


def bound_of(rates: Sequence[float], smoothness: float) -> FiniteBound:
    """The bound of a run of these rates, whose loss has gradients that are ``smoothness``-Lipschitz."""
    total = math.fsum(rates)
    if not total:
        return FiniteBound(math.inf, 0.0)
    return FiniteBound(2 / total, smoothness * math.fsum(rate * rate for rate in rates) / total)


def limits_of(run: WholeRun, rate: float, curvature: float) -> tuple[Limit, ...]:
    """The limits of the stages.

    Args:
        rate: the largest one of the run, of a stage without staleness.
        curvature: that of the quadratic, the largest of the loss.
    """
    clock = Clock(run.stages, run.staleness, 0)
    delays = [clock.lag(stage) for stage in range(run.stages)]
    steps = [_largest_step(run, delay) for delay in delays]
    return tuple(
        Limit(delay, rate * run.lr.share(delay), _over(step, curvature))
        for delay, step in zip(delays, steps, strict=True)
    )


def _largest_step(run: WholeRun, delay: int) -> float | None:
    """The largest stable rate times curvature; known where weights are stashed, gradients averaged and not changed."""
    changed = run.weights != "stashed" or run.correction.outside(run)
    if run.averaging.mixes(run.replicas) or (delay and changed):
        return None
    with telling(type(run.optimizer)):
        return run.optimizer.largest_step(delay)


def _over(step: float | None, curvature: float) -> float | None:
    if step is None:
        return None
    return step / curvature if curvature else math.inf


def _is_stale(run: WholeRun) -> bool:
    return run.staleness > 0 and run.stages > 1
