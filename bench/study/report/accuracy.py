"""The table of accuracies: means over seeds, differences from back-propagation, and when a target was reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.plan.inference import Paired, Word, detectable, words_of
from bench.plan.interval import mean
from bench.plan.median import median_of
from bench.plan.share import sampling
from bench.record.metrics import ACCURACY, shown_in
from bench.study.report.cells import DIGITS, NOTHING, axes, columns, numbers, shown_names, significant, varied
from bench.study.report.pairing import alike, backpropagation, grouped
from bench.study.report.quality import accuracy_of, images_of, pairs_of
from bench.study.report.result import Epoch, Run, curves_of, doubts_of, one_each, order, varying

if TYPE_CHECKING:
    from pandas import DataFrame


def accuracy_table(runs: Sequence[Run], margin: float, target: float | None = None) -> DataFrame:
    """The table of test accuracies over seeds, one row a group, against back-propagation of its workload and replicas.

    Intervals are of 95%: ``accuracy`` over the seeds (:func:`~bench.plan.share.mean_share`), ``test_set`` over test
    sets of that size (:func:`~bench.plan.share.sampling`), ``difference`` in pairs of the same seed. What is said of a
    row is one of :func:`~bench.plan.inference.words_of` the table. A diverged run is one
    of the n, and has no accuracy, nor a pair. One that several machines have made counts once.

    The updates and the seconds to a target are medians over the runs (:func:`~bench.plan.median.median_of`) of the
    first epochs' ends at which it was reached by the images that curves are of; a run that missed it, or diverged,
    takes for ever. Seconds are left out where agents shared cores, of the oracle, and of several machines.

    Args:
        margin: the largest difference of accuracies that does not matter.
        target: the accuracy to reach; where it is None, the table has no column of that.
    """
    import pandas

    groups = grouped(sorted(one_each(runs), key=order), lambda run: run.group)
    keys = varying(runs)
    workloads = alike(groups, lambda run: run.workload)
    baselines = [backpropagation(group[0], workloads[group[0].workload]) for group in groups]
    compared = [[] if other is group else other for group, other in zip(groups, baselines, strict=True)]
    pairs = [pairs_of(group, others) for group, others in zip(groups, compared, strict=True)]
    said = words_of(pairs, margin)
    rows = zip(groups, compared, pairs, said, strict=True)
    return pandas.DataFrame([_row(*row, keys, target) for row in rows])


def _row(
    group: Sequence[Run],
    compared: Sequence[Run],
    pair: Paired | None,
    said: Word | None,
    keys: Sequence[str],
    target: float | None,
) -> dict[str, Any]:
    row = {**axes(group[0]), **varied(group[0], keys), "n": len(group)}
    row |= {"diverged": sum(run.diverged for run in group)}
    for metric in shown_in("accuracy"):
        heading = metric.headings["accuracy"]
        if metric.name == ACCURACY:
            row |= _accuracy(group, heading)
        else:
            known = numbers(group, metric, "accuracy")
            row |= columns(heading, mean(known) if known else None)
    row |= {"pairs": pair.difference.n if pair else 0, **columns("difference", pair.difference if pair else None)}
    row |= {"said": said or ""}
    row |= {"detectable": significant(detectable(pair.deviation, pair.difference.n)) if pair else NOTHING}
    row |= {"curves": curves_of(group)} | ({} if target is None else _reached(group, target))
    # Where runs were asked for different numbers of epochs, that is a column already.
    row.setdefault("epochs", len(group[0].epochs))
    row |= {"updates": group[0].epochs[-1].updates if group[0].epochs else 0}
    row |= {"in_doubt": doubts_of(group)}
    return row | {"runs": shown_names(group), "backpropagation_runs": shown_names(compared)}


def _accuracy(group: Sequence[Run], heading: str) -> dict[str, Any]:
    """The mean accuracy, what the seeds leave open of it, and what the test images do."""
    accuracy, images = accuracy_of(group), images_of(group)
    low, high = sampling(accuracy.mean, images) if accuracy else (NOTHING, NOTHING)
    return columns(heading, accuracy) | {"test_images": images, "test_set_low": low, "test_set_high": high}


def _reached(group: Sequence[Run], target: float) -> dict[str, Any]:
    """How many runs have reached a target, and after how many updates and seconds."""
    ends = [end for run in group if (end := _end(run, target))]
    row: dict[str, Any] = {"target_accuracy": target, "reached": len(ends)}
    missed = [math.inf] * (len(group) - len(ends))
    updates = median_of([*(float(end.updates) for end in ends), *missed])
    seconds = median_of([*(end.seconds for end in ends), *missed])
    told = all(run.timed and run.host == group[0].host for run in group)
    row |= columns("updates_to_target", updates)
    row |= columns("seconds_to_target", seconds if told else None, DIGITS)
    return row | {"target_coverage": updates.coverage}


def _end(run: Run, target: float) -> Epoch | None:
    """The end of the first epoch at which a run has reached a target; None if it never has, or was lost later."""
    reached = (epoch for epoch in run.epochs if epoch.accuracy is not None and epoch.accuracy >= target)
    return None if run.diverged else next(reached, None)
