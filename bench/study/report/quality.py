"""What runs that differ in their seed are worth: their mean quality, and its difference from others' in pairs.

Runs that are taken together have one task.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.plan.inference import Paired, Word, paired, words_of
from bench.plan.interval import Interval, mean
from bench.plan.share import mean_share
from bench.study.report.result import Run
from bench.task.contract import Quality


def units_of(runs: Sequence[Run], split: str = "test") -> int:
    """The number of units that the runs' qualities by a split of the data are of."""
    return min(run.units_of(split) for run in runs)


def mean_quality(runs: Sequence[Run], values: Sequence[float], split: str = "test") -> Interval:
    """The mean of qualities of these runs by a split, with its 95% interval over them: Wilson's of shares, or Student's
    of anything else."""
    return mean_share(values, units_of(runs, split)) if runs[0].quality.is_share else mean(values)


def worth_of(runs: Sequence[Run]) -> Interval | None:
    """The mean quality by the test split over seeds; None if no run has one, as those that have diverged."""
    known = [worth for run in runs if (worth := run.worth) is not None]
    return mean_quality(runs, known) if known else None


def pairs_of(runs: Sequence[Run], others: Sequence[Run]) -> Paired | None:
    """The differences of qualities from those of the same seeds; None where no seed has both."""
    by_seed = {run.seed: worth for run in others if (worth := run.worth) is not None}
    told = [(worth, by_seed[run.seed]) for run in runs if run.seed in by_seed and (worth := run.worth) is not None]
    if not told:
        return None
    own, theirs = zip(*told, strict=True)
    return paired(own, theirs, units_of(runs) if runs[0].quality.is_share else None)


def said_of(pairs: Sequence[Paired | None], quality: Quality, margin: float | None) -> list[Word | None]:
    """What is said of each comparison of a table.

    Args:
        margin: the largest difference that does not matter; None for the quality's own.
    """
    return words_of(pairs, quality.margin if margin is None else margin, quality.gain)
