"""Where a run's flush points lie: between two of them lies a stretch of training, of one epoch."""

from __future__ import annotations


def stretches(steps: int, per_epoch: int, flush_every: int | None = None) -> list[range]:
    """The updates of each stretch of a run, counted from the run's first.

    Args:
        steps: updates of the run; its last epoch may be cut short.
        per_epoch: updates of a whole epoch, behind each of which lies a flush point.
        flush_every: updates from one flush point to the next within an epoch; None: there are none.
    """
    longest = min(per_epoch, flush_every or per_epoch)
    return [
        range(first, min(first + longest, begin + per_epoch, steps))
        for begin in range(0, steps, per_epoch)
        for first in range(begin, min(begin + per_epoch, steps), longest)
    ]
