"""Means of shares, such as of what was told right: they do not leave 0..1, and are no finer than what was counted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from bench.plan.interval import Interval, mean, quantile


def mean_share(values: Sequence[float], units: int) -> Interval:
    """The mean of shares of as many units, and its 95% interval over the values; a single value has none (NaN).

    It is Wilson's interval (:func:`wilson`) with Student's quantile and the number of trials that the values' spread
    speaks of, mean (1 - mean) / (their standard error)^2: what surveys call the effective sample size (Korn and
    Graubard 1998, "Confidence intervals for proportions with small expected number of positive counts estimated from
    survey data"; Franco et al. 2019, "Comparative study of confidence intervals for proportions in complex sample
    surveys"). Far from 0 and 1 that is Student's interval. It reaches at least one unit's share to either side, since
    values that agree have told no more, and nowhere beyond 0 or 1.
    """
    found = mean(values)
    if found.n == 1:
        return found
    error = statistics.stdev(values) / math.sqrt(found.n)
    trials = found.mean * (1 - found.mean) / error**2 if error else math.inf
    low, high = wilson(found.mean, trials, quantile(found.n - 1))
    return Interval(
        found.mean, max(0.0, min(low, found.mean - 1 / units)), min(1.0, max(high, found.mean + 1 / units)), found.n
    )


def sampling(share: float, units: int) -> tuple[float, float]:
    """The ends of the 95% interval of a share of so many units that were drawn at random: what other units of the
    same kind might have said of the same networks."""
    return wilson(share, units, quantile(math.inf))


def wilson(share: float, trials: float, edge: float) -> tuple[float, float]:
    """The ends between which the expectations lie that a share is at most ``edge`` of their standard errors from.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference": the expectations p for which
    ``|share - p| <= edge * sqrt(p (1 - p) / trials)``.
    """
    excess = edge**2 / trials
    centre = (share + excess / 2) / (1 + excess)
    half = edge * math.sqrt((share * (1 - share) + excess / 4) / trials) / (1 + excess)
    return centre - half, centre + half
