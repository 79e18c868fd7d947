"""Learning rates as functions of the update."""

from __future__ import annotations

import math
from bisect import bisect_right

from bench.config import Constant, Cosine, LearningRate, MultiStep


def rate(schedule: LearningRate, step: int, steps: int, steps_per_epoch: int) -> float:
    """The learning rate of one update.

    Args:
        schedule: which rule, and its gamma0 and warm-up.
        step: the update, ``0 .. steps - 1``.
        steps: updates in the whole run.
        steps_per_epoch: updates in an epoch, at least 1.
    """
    return _warmup(step, schedule.warmup_steps) * _settled(schedule, step, steps, steps_per_epoch)


def _settled(schedule: LearningRate, step: int, steps: int, steps_per_epoch: int) -> float:
    """The rate without warm-up."""
    match schedule:
        case Constant():
            return schedule.gamma0
        case MultiStep():
            passed = bisect_right(schedule.milestones, step // steps_per_epoch)
            return schedule.gamma0 * schedule.factor**passed
        case Cosine():
            # Loshchilov and Hutter 2017 (SGDR, arXiv 1608.03983), eq. 5 with one period and a least rate of 0.
            return schedule.gamma0 * (1 + math.cos(math.pi * step / steps)) / 2


def _warmup(step: int, warmup_steps: int) -> float:
    """Linear from ``1 / warmup_steps`` at the first update to 1 (Goyal et al. 2017, arXiv 1706.02677)."""
    return (step + 1) / warmup_steps if step < warmup_steps else 1.0
