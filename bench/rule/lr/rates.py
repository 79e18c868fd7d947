"""Learning rates as functions of the update, and what is proven of training with them on delayed gradients.

The conditions are those of Huo et al. 2018 (arXiv 1804.10574), Theorem 2: step sizes that do not increase, that sum to
infinity, whose squares do not, and that are at most 1/L where gradients are L-Lipschitz. With a constant step only a
neighbourhood of a critical point is reached (Theorem 1). They are derived from a schedule's parameters, as if training
went on for ever; numbers of a finite run could not tell.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

from bench.rule.lr.constant import Constant
from bench.rule.lr.cosine import Cosine
from bench.rule.lr.exponential import Exponential
from bench.rule.lr.inverse_log import InverseLog
from bench.rule.lr.inverse_time import InverseTime
from bench.rule.lr.multistep import MultiStep
from bench.rule.lr.onecycle import OneCycle
from bench.rule.lr.plateau_polynomial import PlateauPolynomial
from bench.rule.lr.polynomial import Polynomial


def rate(schedule: LearningRate, step: int, steps: int, steps_per_epoch: int) -> float:
    """The learning rate of one update, of a stage without staleness.

    Args:
        schedule: which rule, and its gamma0 and warm-up.
        step: the update, ``0 .. steps - 1``.
        steps: updates in the whole run.
        steps_per_epoch: updates in an epoch, at least 1.
    """
    return _warmup(step, schedule.warmup_steps) * _settled(schedule, step, steps, steps_per_epoch)


def updates(epochs: int, max_steps: int | None, steps_per_epoch: int) -> int:
    """The number of updates of a whole run."""
    return min(epochs * steps_per_epoch, max_steps or epochs * steps_per_epoch)


def peak(schedule: LearningRate, steps: int, steps_per_epoch: int) -> float:
    """The largest learning rate of a run: no rate climbs but in its warm-up, and up to the top of a cycle."""
    top = schedule.rise * steps if isinstance(schedule, OneCycle) else 0.0
    last = min(max(math.ceil(top), schedule.warmup_steps), steps - 1)
    return max(rate(schedule, step, steps, steps_per_epoch) for step in range(math.floor(top), last + 1))


def share(schedule: LearningRate, delay: int) -> float:
    """The factor on the learning rate of a stage whose gradients are ``delay`` updates old."""
    return math.pow(1 + delay, -schedule.staleness_power)


def _settled(schedule: LearningRate, step: int, steps: int, steps_per_epoch: int) -> float:
    """The rate that the rule gives without warm-up."""
    match schedule:
        case Constant():
            part = 1.0
        case MultiStep(milestones=milestones, factor=factor):
            part = factor ** bisect_right(milestones, step // steps_per_epoch)
        case Cosine():
            # Loshchilov and Hutter 2017 (SGDR, arXiv 1608.03983), eq. 5 with one period and a least rate of 0.
            part = _half_cosine(step / steps)
        case Exponential(factor=factor):
            part = factor ** (step / steps_per_epoch)
        case OneCycle(rise=rise, start=start):
            top = rise * steps
            part = _half_cosine((step - top) / (steps - top))
            if step < top:
                part = 1 - (1 - start) * _half_cosine(step / top)
        case Polynomial(t0=t0, p=p):
            part = (1 + step / t0) ** -p
        case InverseTime(t0=t0):
            part = 1 / (1 + step / t0)
        case InverseLog(t0=t0):
            part = 1 / math.log(math.e + step / t0)
        case PlateauPolynomial(t0=t0, p=p):
            part = (1 + step // steps_per_epoch / t0) ** -p
    return schedule.gamma0 * part


def _half_cosine(progress: float) -> float:
    """The factor that falls from 1 to 0 along half a cosine."""
    return (1 + math.cos(math.pi * progress)) / 2


def _warmup(step: int, warmup_steps: int) -> float:
    """The factor that climbs from ``1 / warmup_steps`` at the first update to 1 (Goyal et al. 2017, arXiv
    1706.02677)."""
    return (step + 1) / warmup_steps if step < warmup_steps else 1.0


# ------------------------------------------------------------------------------------------------------ the conditions


@dataclass(frozen=True)
class Tail:
    """What a schedule does in the long run; no finite beginning, such as a warm-up, changes its sums."""

    text: str
    infinite_sum: bool
    finite_squares: bool
    constant: bool = False


ENDED = Tail("0 from the end of the run on", infinite_sum=False, finite_squares=True)
STEADY = Tail("constant in the end", infinite_sum=True, finite_squares=False, constant=True)


def tail(schedule: LearningRate) -> Tail:
    """Analyse a schedule: p-series by the integral test, geometric series, and sums of finitely many terms."""
    match schedule:
        case Constant() | MultiStep():
            end = STEADY
        case Cosine() | OneCycle():
            end = ENDED
        case Exponential(factor=factor):
            end = Tail(f"{factor:g}^epoch", infinite_sum=False, finite_squares=True) if factor < 1 else STEADY
        case Polynomial(p=p):
            end = Tail(f"t^-{p:g}", infinite_sum=p <= 1, finite_squares=2 * p > 1)
        case PlateauPolynomial(p=p):
            end = Tail(f"epoch^-{p:g}", infinite_sum=p <= 1, finite_squares=2 * p > 1)
        case InverseTime():
            end = Tail("t^-1", infinite_sum=True, finite_squares=True)
        case InverseLog():
            end = Tail("1/log t", infinite_sum=True, finite_squares=False)
    return end


LearningRate = (
    Constant | MultiStep | Cosine | Exponential | OneCycle | Polynomial | InverseTime | InverseLog | PlateauPolynomial
)
