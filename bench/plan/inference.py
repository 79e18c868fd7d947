"""What pairs of the same seed allow to be said: how much better, whether it differs, and whether it is no worse.

Runs of one seed begin at the same weights and see the same batches, so that their differences spread less than they do.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from bench.plan.interval import Interval, mean, quantile

LEVEL = 0.05
"""The largest probability of a mark where nothing differs: of a table, and of each of the two one-sided tests."""
POWER = 0.8
"""The probability with which a detectable difference is found."""

Word = Literal["better", "worse", "no worse", "undecided"]


class Paired(NamedTuple):
    """The mean difference of pairs of numbers, such as shares of what was told right."""

    difference: Interval
    """That of shares reaches at least one unit's to either side, and nowhere beyond -1 or 1."""
    p: float
    """The probability of a difference as large where there is none (Student's paired t-test); NaN of a single pair."""
    deviation: float
    """The standard deviation of the pairs' differences, of shares no less than the units can tell; NaN of a single
    pair."""


def paired(values: Sequence[float], others: Sequence[float], units: int | None) -> Paired:
    """Compare numbers with those of the same seeds (Student 1908, "The probable error of a mean").

    Differences of shares are whole units. Of few, all may be the same by chance: their deviation counts as no less
    than that which makes the interval a unit's share wide to either side, in the test too.

    Args:
        units: how many units the numbers are shares of; None if they are no shares.
    """
    differences = [value - other for value, other in zip(values, others, strict=True)]
    found = mean(differences)
    if found.n == 1:
        return Paired(found, math.nan, math.nan)
    edge, root = quantile(found.n - 1), math.sqrt(found.n)
    deviation = max(statistics.stdev(differences), root / (units * edge) if units else 0.0)
    half, most = edge * deviation / root, 1.0 if units else math.inf
    interval = Interval(found.mean, max(-most, found.mean - half), min(most, found.mean + half), found.n)
    return Paired(interval, 2 * _beyond(abs(found.mean), deviation, found.n), deviation)


def holm(probabilities: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Mark which of many differences are real, so that a table without any has a mark with ``level`` at most.

    Holm 1979, "A simple sequentially rejective multiple test procedure": from the smallest probability on, each is
    held against the level over the number of those that are left, until one is above. NaN is no test and is no mark.
    """
    asked = sorted((p, place) for place, p in enumerate(probabilities) if not math.isnan(p))
    marked = [False] * len(probabilities)
    for rank, (p, place) in enumerate(asked):
        if p > level / (len(asked) - rank):
            break
        marked[place] = True
    return marked


def word_of(pair: Paired, differs: bool, margin: float, gain: Callable[[float], float] = float) -> Word:
    """Say what is known of a difference: whether it is real, or else whether both ends of its size are within a margin.

    Schuirmann 1987, "A comparison of the two one-sided tests procedure": it is within the margin if both "worse by the
    margin" and "better by the margin" are refused at :data:`LEVEL`.

    Args:
        differs: whether :func:`holm` has marked it.
        margin: the largest difference that does not matter, in the values' unit.
        gain: makes a difference positive where it is for the better.
    """
    if differs:
        return "better" if gain(pair.difference.mean) > 0 else "worse"
    n = pair.difference.n
    if n == 1:
        return "undecided"
    refused = (_beyond(margin + sign * pair.difference.mean, pair.deviation, n) < LEVEL for sign in (1, -1))
    return "no worse" if all(refused) else "undecided"


def words_of(
    pairs: Sequence[Paired | None], margin: float, gain: Callable[[float], float] = float
) -> list[Word | None]:
    """What is said of each comparison of a table, with Holm's correction over all of them; None where there is none."""
    marks = holm([pair.p if pair else math.nan for pair in pairs])
    return [word_of(pair, mark, margin, gain) if pair else None for pair, mark in zip(pairs, marks, strict=True)]


def detectable(deviation: float, n: int) -> float:
    """The difference that n pairs, which spread so much, show in a two-sided test at :data:`LEVEL` with :data:`POWER`.

    Cohen 1988, "Statistical power analysis", section 2.3: the power is that of Student's noncentral t beyond the test's
    quantile, and what is beyond it on the other side is nothing. NaN of a single pair.
    """
    if n == 1:
        return math.nan
    from scipy import special
    from scipy.optimize import brentq

    edge = quantile(n - 1)
    shift = brentq(lambda moved: special.nctdtr(n - 1, moved, edge) - (1 - POWER), 1e-9, 4 * edge)
    return float(shift) * deviation / math.sqrt(n)


def _beyond(distance: float, deviation: float, n: int) -> float:
    """The probability that a mean of n lies so far above its expectation, by Student's t."""
    from scipy import special

    if deviation == 0:  # pairs that all differ by the same: what is beyond is certain
        return 0.5 if distance == 0 else float(distance < 0)
    return float(special.stdtr(n - 1, -distance * math.sqrt(n) / deviation))
