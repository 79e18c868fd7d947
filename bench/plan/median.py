"""Medians of times, some of which may be infinite, with intervals that assume nothing of how they are distributed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Median(NamedTuple):
    """A median, the ends of its interval, and what that is worth; n values."""

    median: float
    low: float
    high: float
    n: int
    coverage: float
    """The probability that the interval holds the median of what the values are drawn from, at the least."""


def median_of(values: Sequence[float]) -> Median:
    """The median, and the interval between the values that stand as far from either end of their order.

    It is the narrowest such interval that holds the median of the values' distribution, whatever that is, with 95%: a
    value is below it with probability 1/2, and so the r-th from below is with that of a binomial (David and Nagaraja
    2003, "Order statistics", section 7.1). Fewer than 6 values have no interval of 95%; theirs is from the least to the
    most, which of n values holds the median with 1 - 2 / 2^n: 93.75% of 5, 75% of 3. One value has none (NaN). Values
    may be infinite: half of them or more, and so is the median.
    """
    ordered, n = sorted(values), len(values)
    centre = statistics.median(ordered)
    if n == 1:
        return Median(centre, math.nan, math.nan, 1, math.nan)
    rank = max([rank for rank in range(1, n // 2 + 1) if _coverage(rank, n) >= 0.95], default=1)
    return Median(centre, ordered[rank - 1], ordered[n - rank], n, _coverage(rank, n))


def _coverage(rank: int, n: int) -> float:
    """The probability that a median is between the values of a rank from below and of the same rank from above."""
    return float(1 - 2 * sum(math.comb(n, below) for below in range(rank)) / 2**n)
