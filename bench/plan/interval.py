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
    centre = statistics.fmean(values)
    if len(values) < 2:
        return Interval(back(centre), math.nan, math.nan, len(values))
    from scipy import special

    half = float(special.stdtrit(len(values) - 1, LEVEL)) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(back(centre), back(centre - half), back(centre + half), len(values))


def difference(values: Sequence[float], others: Sequence[float]) -> Interval:
    """The difference of two means, with Welch's interval; n is the smaller of the sizes, and 1 has none (NaN).

    Welch 1947, "The generalization of Student's problem": with v = s^2 / n of each sample, and t the quantile of
    Student's t with (v1 + v2)^2 / (v1^2 / (n1 - 1) + v2^2 / (n2 - 1)) degrees of freedom, the half width is
    t * sqrt(v1 + v2).
    """
    from scipy import special

    centre, n = statistics.fmean(values) - statistics.fmean(others), min(len(values), len(others))
    if n < 2:
        return Interval(centre, math.nan, math.nan, n)
    own, other = (statistics.variance(sample) / len(sample) for sample in (values, others))
    if own + other == 0:
        return Interval(centre, centre, centre, n)
    freedom = (own + other) ** 2 / (own**2 / (len(values) - 1) + other**2 / (len(others) - 1))
    half = float(special.stdtrit(freedom, LEVEL)) * math.sqrt(own + other)
    return Interval(centre, centre - half, centre + half, n)
