"""The tables of a report: one row a run, one a group of runs that differ in their seed alone.

Every row of a group names the runs that it is made of. The seed is the repeat: runs of one seed were made in one round
of a sweep, so that ratios are taken between runs of the same seed and the machine's drift falls out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.study.comparison import LOCKED, SINGLE, SPEED, Speeds, alike, backpropagation, grouped
from bench.study.interval import Interval, difference, mean
from bench.study.runs import TITLES, Run, order, setting, varying
from bench.study.table import align

if TYPE_CHECKING:
    from pandas import DataFrame

TARGET_SHARE = 0.99
"""The share of back-propagation's mean accuracy that is to be reached."""
DIGITS = 6
"""Significant digits of what a clock has measured; accuracies keep all of theirs."""
NOTHING = float("nan")
LOCKS = ("forward", "backward", "update", "total")
SHOWN = {
    "accuracy": (
        "n",
        "diverged",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "difference",
        "difference_low",
        "difference_high",
    ),
    "throughput": (
        "oversubscribed",
        "n",
        "images_per_second",
        "over_single",
        "over_single_low",
        "over_single_high",
        "over_locked",
        "over_locked_low",
        "over_locked_high",
        "efficiency",
        "total_locking",
    ),
}
"""Columns that a terminal shows, after those that tell the rows apart."""
ENVIRONMENT = ("host", "cpu", "cores", "oversubscribed", "gpu", "git_commit", "git_dirty", "torch")


def runs_table(runs: Sequence[Run]) -> DataFrame:
    """The table of runs, one row a run: what it was, what it measured, and where."""
    import pandas

    keys = varying(runs)
    rows = []
    for run in sorted(runs, key=order):
        row: dict[str, Any] = {"run": run.name, "status": run.status, **_axes(run), **_keys(run, keys)}
        row |= {"seed": run.seed, **run.metrics, "started": run.started, "finished": run.finished}
        row |= {key: run.environment.get(key) for key in ENVIRONMENT}
        rows.append(row | {"data": run.data["name"], "data_digest": run.data["digest"]})
    return pandas.DataFrame(rows)


def shown(name: str, table: DataFrame) -> str:
    """A table of accuracies or throughputs in the terminal, the columns that are looked at first."""
    axes = list(table.columns[: list(table.columns).index(SHOWN[name][0])])
    part = table[[*axes, *SHOWN[name]]]
    rows = ([_short(cell) for cell in row] for row in part.itertuples(index=False))
    return "\n".join([name, *align([list(part.columns), *rows])])


def accuracy_table(runs: Sequence[Run], target: float | None = None) -> DataFrame:
    """The table of test accuracies over seeds, one row a group, against back-propagation of its workload and replicas.

    Intervals are of 95%: Student's t for a mean, Welch's for a difference. A diverged run is one of
    the n, and has no accuracy. Seconds to the target are the mean of the first epochs' ends at which it was reached,
    infinite if one of the runs has missed it, and left out where agents shared cores, and of the oracle, whose time
    says nothing.

    Args:
        target: accuracy to reach; where it is None, 99% of back-propagation's mean.
    """
    import pandas

    groups = grouped(sorted(runs, key=order), lambda run: run.group)
    keys = varying(runs)
    workloads = alike(groups, lambda run: run.workload)
    rows = ((group, backpropagation(group[0], workloads[group[0].workload])) for group in groups)
    return pandas.DataFrame([_accuracy_row(group, baseline, keys, target) for group, baseline in rows])


def throughput_table(runs: Sequence[Run], mix_hosts: bool = False) -> DataFrame:
    """The table of images per second, one row a group and host, with geometric mean ratios to runs of the same seed.

    ``over_single`` is over the run at K=S=1, ``over_locked`` over the one at staleness 0 of the same K and S; of K=S=1
    that with as large batches as each replica has, or else as all of them have. There is no ratio where agents shared
    cores, nor for the oracle, whose throughput says nothing.

    Args:
        mix_hosts: compare runs of different machines too.
    """
    import pandas

    speeds, keys = Speeds(sorted(runs, key=order), mix_hosts), varying(runs)
    return pandas.DataFrame([_throughput_row(group, speeds, keys, mix_hosts) for group in speeds.groups])


# ------------------------------------------------------------------------------------------------------------- accuracy
def _accuracy_row(
    group: Sequence[Run], baseline: Sequence[Run], keys: Sequence[str], target: float | None
) -> dict[str, Any]:
    own, other = _accuracies(group), _accuracies(baseline)
    if target is None and other:
        target = TARGET_SHARE * mean(other).mean
    seconds = [_seconds_to(run, target) for run in group] if target is not None else []
    compared = list(baseline) if baseline is not group else []
    row = {**_axes(group[0]), **_keys(group[0], keys), "n": len(group)}
    row |= {"diverged": sum(run.diverged for run in group)}
    row |= columns("accuracy", mean(own) if own else None)
    row |= columns("difference", difference(own, other) if compared and own and other else None)
    row |= {"target_accuracy": NOTHING if target is None else target}
    misses = sum(map(math.isinf, seconds))
    told = seconds and (misses or all(run.timed for run in group))
    row |= {"time_to_target_seconds": _round(sum(seconds) / len(seconds)) if told else NOTHING}
    row |= {"misses": misses}
    # Where runs were asked for different numbers of epochs, that is a column already.
    row.setdefault("epochs", len(group[0].epochs))
    row |= {"updates": group[0].epochs[-1].updates if group[0].epochs else 0}
    return row | {"runs": _names(group), "backpropagation_runs": _names(compared)}


def _accuracies(group: Sequence[Run]) -> list[float]:
    numbers = [run.number("accuracy/test") for run in group]
    return [number for number in numbers if number is not None]


def _seconds_to(run: Run, target: float) -> float:
    reached = (epoch.seconds for epoch in run.epochs if epoch.accuracy is not None and epoch.accuracy >= target)
    return next(reached, math.inf)


# ----------------------------------------------------------------------------------------------------------- throughput
def _throughput_row(group: Sequence[Run], speeds: Speeds, keys: Sequence[str], mix_hosts: bool) -> dict[str, Any]:
    run = group[0]
    row = {**_axes(run), **_keys(run, keys)} | ({} if mix_hosts else run.host)
    row |= {"oversubscribed": run.oversubscribed, "n": len(group)}
    row |= {"images_per_second": _mean(group, SPEED)}
    names = {}
    for baseline in (SINGLE, LOCKED):
        against = speeds.over(baseline, group)
        row |= columns(f"over_{baseline}", against.ratio, DIGITS) | {f"over_{baseline}_n": len(against.others)}
        names[f"{baseline}_runs"] = _names(against.others)
    row |= {"efficiency": _mean(group, "throughput/efficiency")}
    row |= {f"{kind}_locking": _mean(group, f"locking/{kind}_fraction") for kind in LOCKS}
    row |= {"peak_megabytes": _mean(group, "memory/peak_bytes", 1e-6)}
    return row | {"runs": _names(group), **names}


def _mean(group: Sequence[Run], metric: str, unit: float = 1.0) -> float:
    numbers = [number * unit for run in group if (number := run.number(metric)) is not None]
    return _round(mean(numbers).mean) if numbers else NOTHING


# ---------------------------------------------------------------------------------------------------------- their parts
def _axes(run: Run) -> dict[str, Any]:
    return {TITLES.get(key, key): run.keys[key] for key in ("stages", "replicas", "staleness", "method")}


def _keys(run: Run, keys: Sequence[str]) -> dict[str, str]:
    return {key: setting(run, key) for key in keys}


def columns(name: str, interval: Interval | None, digits: int | None = None) -> dict[str, float]:
    """A mean and the ends of its interval, by column."""
    numbers = interval[:3] if interval else (NOTHING,) * 3
    rounded = [number if digits is None else _round(number, digits) for number in numbers]
    return dict(zip((name, f"{name}_low", f"{name}_high"), rounded, strict=True))


def _round(number: float, digits: int = DIGITS) -> float:
    return float(f"{number:.{digits}g}")


def _short(cell: object) -> str:
    if isinstance(cell, float):
        return "-" if math.isnan(cell) else f"{cell:.4g}"
    return str(cell)


def _names(runs: Sequence[Run]) -> str:
    return " ".join(run.name for run in runs)
