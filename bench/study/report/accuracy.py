"""The table of accuracies: means over seeds, and differences from back-propagation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.plan.inference import Paired, detectable, holm, paired, word_of
from bench.plan.interval import difference, mean
from bench.record.metrics import ACCURACY, shown_in
from bench.study.report.cells import NOTHING, axes, columns, numbers, shown_names, significant, varied
from bench.study.report.pairing import alike, backpropagation, grouped
from bench.study.report.result import Run, curves_of, numbers_of, order, varying

if TYPE_CHECKING:
    from pandas import DataFrame


def accuracy_table(runs: Sequence[Run], margin: float, target: float | None = None) -> DataFrame:
    """The table of test accuracies over seeds, one row a group, against back-propagation of its workload and replicas.

    Intervals are of 95%: Student's t for a mean and for the difference in pairs of the same seed, Welch's for that of
    the means. What is said of a row is :func:`~bench.plan.inference.word_of` its pairs, with Holm's correction over the
    table. A diverged run is one of the n, and has no accuracy, nor a pair. Seconds to the target are the mean of the
    first epochs' ends at which it was reached by the images that curves are of, infinite if one of the runs has missed
    it, and left out where agents shared cores, and of the oracle, whose time says nothing.

    Args:
        margin: the largest difference of accuracies that does not matter.
        target: the accuracy to reach; where it is None, the table has no column of that.
    """
    import pandas

    groups = grouped(sorted(runs, key=order), lambda run: run.group)
    keys = varying(runs)
    workloads = alike(groups, lambda run: run.workload)
    rows = [(group, backpropagation(group[0], workloads[group[0].workload])) for group in groups]
    pairs = [_pairs(*row) for row in rows]
    marks = holm([pair.p if pair else math.nan for pair in pairs])
    said = [_said(pair, mark, margin) for pair, mark in zip(pairs, marks, strict=True)]
    return pandas.DataFrame([_accuracy_row(*row, one, keys, target) for row, one in zip(rows, said, strict=True)])


def _pairs(group: Sequence[Run], baseline: Sequence[Run]) -> Paired | None:
    """The differences of runs from those of their seeds; None where there is no pair, or the group is the baseline."""
    if baseline is group:
        return None
    by_seed = {run.seed: other for run in baseline if (other := run.number(ACCURACY)) is not None}
    told = [run for run in group if run.seed in by_seed and run.number(ACCURACY) is not None]
    return paired(numbers_of(told, ACCURACY), [by_seed[run.seed] for run in told]) if told else None


def _said(pair: Paired | None, mark: bool, margin: float) -> dict[str, Any]:
    row: dict[str, Any] = {"pairs": pair.difference.n if pair else 0}
    row |= columns("paired_difference", pair.difference if pair else None)
    row |= {"said": word_of(pair, mark, margin) if pair else ""}
    return row | {"detectable": significant(detectable(pair.deviation, pair.difference.n)) if pair else NOTHING}


def _accuracy_row(
    group: Sequence[Run], baseline: Sequence[Run], said: dict[str, Any], keys: Sequence[str], target: float | None
) -> dict[str, Any]:
    own, other = numbers_of(group, ACCURACY), numbers_of(baseline, ACCURACY)
    compared = list(baseline) if baseline is not group else []
    row = {**axes(group[0]), **varied(group[0], keys), "n": len(group)}
    row |= {"diverged": sum(run.diverged for run in group)}
    for metric in shown_in("accuracy"):
        known = numbers(group, metric, "accuracy")
        row |= columns(metric.headings["accuracy"], mean(known) if known else None)
    row |= columns("difference", difference(own, other) if compared and own and other else None)
    row |= said
    row |= {"curves": curves_of(group)} | ({} if target is None else _reached(group, target))
    # Where runs were asked for different numbers of epochs, that is a column already.
    row.setdefault("epochs", len(group[0].epochs))
    row |= {"updates": group[0].epochs[-1].updates if group[0].epochs else 0}
    return row | {"runs": shown_names(group), "backpropagation_runs": shown_names(compared)}


def _reached(group: Sequence[Run], target: float) -> dict[str, Any]:
    seconds = [_seconds_to(run, target) for run in group]
    misses = sum(map(math.isinf, seconds))
    told = misses or all(run.timed for run in group)
    row = {"target_accuracy": target, "time_to_target_seconds": significant(mean(seconds).mean) if told else NOTHING}
    return row | {"misses": misses}


def _seconds_to(run: Run, target: float) -> float:
    reached = (epoch.seconds for epoch in run.epochs if epoch.accuracy is not None and epoch.accuracy >= target)
    return next(reached, math.inf)
