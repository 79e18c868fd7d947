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


def difference(values: Sequence[float], others: Sequence[float]) -> Interval:
    """The difference of two means, with Welch's interval; n is the smaller of the sizes, and 1 has none (NaN).

    Welch 1947, "The generalization of Student's problem": with v = s^2 / n of each sample, and t the quantile of
    Student's t with (v1 + v2)^2 / (v1^2 / (n1 - 1) + v2^2 / (n2 - 1)) degrees of freedom, the half width is
    t * sqrt(v1 + v2). The t-test of scipy.stats warns of equal values, as accuracies of few seeds may be.
    """
    centre, n = statistics.fmean(values) - statistics.fmean(others), min(len(values), len(others))
    half = math.nan
    if n > 1:
        own, other = (statistics.variance(sample) / len(sample) for sample in (values, others))
        freedom = own**2 / (len(values) - 1) + other**2 / (len(others) - 1)
        half = quantile((own + other) ** 2 / freedom) * math.sqrt(own + other) if freedom else 0.0
    return Interval(centre, centre - half, centre + half, n)


def _interval(values: Sequence[float], back: Callable[[float], float]) -> Interval:
    centre, n = statistics.fmean(values), len(values)
    half = quantile(n - 1) * statistics.stdev(values) / math.sqrt(n) if n > 1 else math.nan
    return Interval(back(centre), back(centre - half), back(centre + half), n)


def quantile(freedom: float) -> float:
    """The quantile of Student's t at :data:`LEVEL`, beyond which both tails together are 5%."""
    # What scipy.stats.t.ppf calls; all of scipy.stats takes half a second to import, at the start of every run.
    from scipy import special

    return float(special.stdtrit(freedom, LEVEL))
