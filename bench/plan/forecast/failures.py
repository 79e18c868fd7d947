"""How long work takes on machines that fail, with checkpoints and without.

Failures come at random and independently of one another, so many a year on average. After each, the machine starts
again, which takes a time too, and the work goes on from its newest checkpoint.
J. W. Young, A first order approximation to the optimum checkpoint interval, 1974; J. T. Daly, A higher order estimate
of the optimum checkpoint interval for restart dumps, 2006.
"""

from __future__ import annotations

import math


def expected_seconds(work: float, interval: float, checkpoint: float, restart: float, between: float) -> float:
    """The mean of the seconds that work takes, with all that is lost and made again: Daly's formula, piece by piece.

    A piece of s seconds takes ``between * exp(restart / between) * (exp(s / between) - 1)`` on average: that is s
    without failures. To first order in s, all of it is Young's ``s * (1 + (s / 2 + restart) / between)``.

    Args:
        work: seconds without failures and checkpoints.
        interval: seconds of work from one checkpoint to the next; infinite where there are none. The end needs none.
        checkpoint: seconds that one takes.
        restart: seconds from a failure until the work goes on, during which the machine may fail again.
        between: mean seconds from one failure to the next; infinite where there are none.
    """
    whole = max(math.ceil(work / interval) - 1, 0)
    last = work - whole * interval if whole else work
    if math.isinf(between):
        return work + whole * checkpoint
    try:
        pieces = whole * math.expm1((interval + checkpoint) / between) if whole else 0.0
        return between * math.exp(restart / between) * (pieces + math.expm1(last / between))
    except OverflowError:
        return math.inf


def best_interval(checkpoint: float, between: float) -> float:
    """The seconds of work between checkpoints that cost least: Daly's estimate, whose first term is Young's.

    Args:
        checkpoint: seconds that one takes; above 0.
        between: mean seconds from one failure to the next.
    """
    if checkpoint >= 2 * between:
        return between
    small = checkpoint / (2 * between)
    return math.sqrt(2 * checkpoint * between) * (1 + math.sqrt(small) / 3 + small / 9) - checkpoint
