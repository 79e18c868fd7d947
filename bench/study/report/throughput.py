"""The tables of a report: one row a run, one a group of runs that differ in their seed alone.

Every row of a group names the runs that it is made of. The seed is the repeat: runs of one seed were made in one round
of a sweep, so that ratios are taken between runs of the same seed and the machine's drift falls out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.plan.interval import mean
from bench.record.metrics import SPEED, shown_in
from bench.study.report.cells import DIGITS, NOTHING, axes, columns, numbers, shown_names, significant, varied
from bench.study.report.pairing import LOCKED, SINGLE, Speeds
from bench.study.report.result import Run, doubts_of, order, varying
from bench.task.judgement import Judgement

if TYPE_CHECKING:
    from pandas import DataFrame


def throughput_table(runs: Sequence[Run], mix_hosts: bool = False) -> DataFrame:
    """The table of units per second, one row a group and host, with geometric mean ratios to runs of the same seed.

    ``over_single`` is over the run at K=S=1, ``over_locked`` over the one at staleness 0 of the same K and S; of K=S=1
    that with as large batches as each replica has, or else as all of them have. There is no ratio where agents shared
    cores or runs had others beside them, nor for the oracle, whose throughput says nothing. Runs with company have rows
    of their own, and a column says which, where there are any.

    Args:
        mix_hosts: compare runs of different machines too.
    """
    import pandas

    speeds, keys, units = Speeds(sorted(runs, key=order), mix_hosts), varying(runs), counted(runs)
    rows = [_throughput_row(group, speeds, keys, mix_hosts, units) for group in speeds.groups]
    table = pandas.DataFrame(rows)
    return table if any(run.colocated for run in runs) else table.drop(columns="colocated", errors="ignore")


def counted(runs: Sequence[Run]) -> Judgement:
    """What the runs count, for a heading; of several tasks, units."""
    found = {run.judgement.unit: run.judgement for run in runs}
    first = runs[0].judgement
    return first if len(found) == 1 else replace(first, unit="unit", short="units")


def _throughput_row(
    group: Sequence[Run], speeds: Speeds, keys: Sequence[str], mix_hosts: bool, units: Judgement
) -> dict[str, Any]:
    run = group[0]
    row = {**axes(run), **varied(run, keys)} | ({} if mix_hosts else run.host)
    row |= {"oversubscribed": run.oversubscribed, "colocated": run.colocated, "n": len(group)}
    names: dict[str, str] = {}
    for metric in shown_in("throughput"):
        heading = metric.heading("throughput", units)
        known = numbers(group, metric, heading)
        row[heading] = significant(mean(known).mean) if known else NOTHING
        if metric.name == SPEED:
            for baseline in (SINGLE, LOCKED):
                against = speeds.over(baseline, group)
                row |= columns(f"over_{baseline}", against.ratio, DIGITS) | {f"over_{baseline}_n": len(against.others)}
                names[f"{baseline}_runs"] = shown_names(against.others)
    return row | {"in_doubt": doubts_of(group), "runs": shown_names(group), **names}
