"""Means with confidence intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Interval(NamedTuple):
    """A mean and the ends of its 95% confidence interval; n values."""

    mean: float
    low: float
    high: float
    n: int


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Interval:
    """The geometric mean of paired ratios, with Student's t interval on their logarithms.

    Raises:
        ValueError: fewer than two pairs, which have no interval.
    """
    from scipy import stats

    logs = [math.log(a / b) for a, b in zip(numerators, denominators, strict=True)]
    if len(logs) < 2:
        raise ValueError(f"{len(logs)} pairs have no interval; at least 2 are needed")
    mean = statistics.fmean(logs)
    half = float(stats.t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half), len(logs))
