"""Means with confidence intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

LEVEL = 0.975
"""Quantile of the upper end of a 95% interval."""


class Interval(NamedTuple):
    """A mean and the ends of its 95% confidence interval; n values."""

    mean: float
    low: float
    high: float
    n: int


def mean(values: Sequence[float]) -> Interval:
    """The mean with Student's t interval; one value has none (NaN)."""
    return _interval(values, lambda value: value)


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Interval:
    """The geometric mean of paired ratios, with Student's t interval on their logarithms; one pair has none (NaN)."""
    return _interval([math.log(a / b) for a, b in zip(numerators, denominators, strict=True)], math.exp)


def _interval(values: Sequence[float], back: Callable[[float], float]) -> Interval:
    centre, n = statistics.fmean(values), len(values)
    half = quantile(n - 1) * statistics.stdev(values) / math.sqrt(n) if n > 1 else math.nan
    return Interval(back(centre), back(centre - half), back(centre + half), n)


def quantile(freedom: float) -> float:
    """The quantile of Student's t at :data:`LEVEL`, beyond which both tails together are 5%."""
    # What scipy.stats.t.ppf calls; all of scipy.stats takes half a second to import, at the start of every run.
    from scipy import special

    return float(special.stdtrit(freedom, LEVEL))
