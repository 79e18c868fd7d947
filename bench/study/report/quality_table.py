"""The table of qualities: means over seeds, differences from back-propagation, and when a target was reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.plan.inference import Paired, Word, detectable
from bench.plan.median import median_of
from bench.plan.share import sampling
from bench.study.report.cells import DIGITS, NOTHING, axes, columns, shown_names, significant, varied
from bench.study.report.pairing import alike, backpropagation, grouped
from bench.study.report.quality import pairs_of, said_of, units_of, worth_of
from bench.study.report.result import Epoch, Run, curves_of, doubts_of, one_each, order, varying

if TYPE_CHECKING:
    from pandas import DataFrame


def quality_table(runs: Sequence[Run], margin: float | None, target: float | None = None) -> DataFrame:
    """The table of qualities by the test split over seeds, one row a group, against back-propagation of its workload
    and replicas.

    Intervals are of 95%: the quality's over the seeds, ``test_set`` of shares over test sets of that size
    (:func:`~bench.plan.share.sampling`), ``difference`` in pairs of the same seed. What is said of a
    row is one of :func:`~bench.plan.inference.words_of` the table. A diverged run is one
    of the n, and has no quality, nor a pair. One that several machines have made counts once.

    The updates and the seconds to a target are medians over the runs (:func:`~bench.plan.median.median_of`) of the
    first epochs' ends at which it was reached by the split that curves are of; a run that missed it, or diverged,
    takes for ever. Seconds are left out where agents shared cores, of the oracle, and of several machines.

    Args:
        runs: they have one quality.
        margin: the largest difference that does not matter; None for the quality's own.
        target: the quality to reach; where it is None, the table has no column of that.
    """
    import pandas

    groups = grouped(sorted(one_each(runs), key=order), lambda run: run.group)
    keys = varying(runs)
    workloads = alike(groups, lambda run: run.workload)
    baselines = [backpropagation(group[0], workloads[group[0].workload]) for group in groups]
    compared = [[] if other is group else other for group, other in zip(groups, baselines, strict=True)]
    pairs = [pairs_of(group, others) for group, others in zip(groups, compared, strict=True)]
    said = said_of(pairs, runs[0].quality, margin)
    rows = zip(groups, compared, pairs, said, strict=True)
    return pandas.DataFrame([_row(*row, keys, target) for row in rows])


def by_quality(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each quality, by its name."""
    return {members[0].quality.name: members for members in grouped(runs, lambda run: run.quality.name)}


def quality_tables(runs: Sequence[Run], margin: float | None, target: float | None = None) -> dict[str, DataFrame]:
    """The table of each quality, by its name. Arguments are those of :func:`quality_table`."""
    return {name: quality_table(members, margin, target) for name, members in by_quality(runs).items()}


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
    row |= _worth(group)
    row |= {"pairs": pair.difference.n if pair else 0, **columns("difference", pair.difference if pair else None)}
    row |= {"said": said or ""}
    row |= {"detectable": significant(detectable(pair.deviation, pair.difference.n)) if pair else NOTHING}
    row |= {"curves": curves_of(group)} | ({} if target is None else _reached(group, target))
    # Where runs were asked for different numbers of epochs, that is a column already.
    row.setdefault("epochs", len(group[0].epochs))
    row |= {"updates": group[0].epochs[-1].updates if group[0].epochs else 0}
    row |= {"in_doubt": doubts_of(group)}
    return row | {"runs": shown_names(group), "backpropagation_runs": shown_names(compared)}


def _worth(group: Sequence[Run]) -> dict[str, Any]:
    """The mean quality, what the seeds leave open of it, and of a share what the test split does."""
    run, worth, units = group[0], worth_of(group), units_of(group)
    row = columns(run.quality.name, worth) | {f"test_{run.judgement.units}": units}
    if not run.quality.is_share:
        return row
    low, high = sampling(worth.mean, units) if worth else (NOTHING, NOTHING)
    return row | {"test_set_low": low, "test_set_high": high}


def _reached(group: Sequence[Run], target: float) -> dict[str, Any]:
    """How many runs have reached a target, and after how many updates and seconds."""
    ends = [end for run in group if (end := _end(run, target))]
    row: dict[str, Any] = {f"target_{group[0].quality.name}": target, "reached": len(ends)}
    missed = [math.inf] * (len(group) - len(ends))
    updates = median_of([*(float(end.updates) for end in ends), *missed])
    seconds = median_of([*(end.seconds for end in ends), *missed])
    told = all(run.timed and run.host == group[0].host for run in group)
    row |= columns("updates_to_target", updates)
    row |= columns("seconds_to_target", seconds if told else None, DIGITS)
    return row | {"target_coverage": updates.coverage}


def _end(run: Run, target: float) -> Epoch | None:
    """The end of the first epoch at which a run has reached a target; None if it never has, or was lost later."""
    reached = (end for end in run.epochs if end.quality is not None and run.quality.reaches(end.quality, target))
    return None if run.diverged else next(reached, None)
