"""What runs that differ in their seed are worth: their mean accuracy, and its difference from others' in pairs."""

from __future__ import annotations

from collections.abc import Sequence

from bench.plan.inference import Paired, paired
from bench.plan.interval import Interval
from bench.plan.share import mean_share
from bench.record.metrics import ACCURACY
from bench.study.report.result import Run, numbers_of


def images_of(runs: Sequence[Run], split: str = "test") -> int:
    """The number of images that the runs' accuracies by a split of the data are shares of."""
    return min(int(run.data[f"{split}_images"]) for run in runs)


def accuracy_of(runs: Sequence[Run]) -> Interval | None:
    """The mean test accuracy over seeds; None if no run has one, as those that have diverged."""
    known = numbers_of(runs, ACCURACY)
    return mean_share(known, images_of(runs)) if known else None


def pairs_of(runs: Sequence[Run], others: Sequence[Run]) -> Paired | None:
    """The differences of accuracies from those of the same seeds; None where no seed has both."""
    by_seed = {run.seed: other for run in others if (other := run.number(ACCURACY)) is not None}
    told = [run for run in runs if run.seed in by_seed and run.number(ACCURACY) is not None]
    if not told:
        return None
    return paired(numbers_of(told, ACCURACY), [by_seed[run.seed] for run in told], images_of(told))
