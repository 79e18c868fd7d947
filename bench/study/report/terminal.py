"""Finished runs side by side, as one table of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.record.metrics import SPEED, shown_in
from bench.study.report.align import COLOCATED, CROWDED, NOTHING, align
from bench.study.report.cells import short
from bench.study.report.pairing import SINGLE, Speeds
from bench.study.report.result import AXES, ON_TEST, TITLES, Run, doubts_of, setting, varying

if TYPE_CHECKING:
    from pandas import DataFrame

FOOTNOTE = f"{CROWDED} more agents than cores: throughput is not comparable"
COMPANY = f"{COLOCATED} measured with other runs beside it (launcher.parallel): throughput is not comparable"


def summary(runs: Sequence[Run]) -> str:
    """The runs as a Markdown table, ordered by K, S and staleness.

    Keys of the configuration that differ between the runs (weights, model, seed, ...) get a column each. The speed-up
    is over the run of the same seed at K=S=1, as that of a report.
    """
    if not runs:
        return "no runs"
    speeds, keys = Speeds(runs), varying(runs)
    keys += ["seed"] if len({run.seed for run in runs}) > 1 else []
    ordered = sorted(runs, key=lambda run: [run.keys[key] for key in AXES[:3]])
    rows = [_row(run, keys, speeds) for run in ordered]
    lines = align([list(rows[0]), *(list(row.values()) for row in rows)])
    notes = [FOOTNOTE] if any(run.oversubscribed for run in runs) else []
    notes += [COMPANY] if any(run.colocated for run in runs) else []
    if diverged := sum(run.diverged for run in runs):
        notes.append(f"{diverged} of {len(runs)} runs diverged: without an accuracy, and in no mean of accuracies")
    if tested := [run for run in runs if run.curves == "test"]:
        notes.append(f"{len(tested)} of {len(runs)} runs {ON_TEST}")
    if doubts := doubts_of(runs):
        notes.append(f"in doubt: {doubts}")
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def _row(run: Run, keys: Sequence[str], speeds: Speeds) -> dict[str, str]:
    mark = CROWDED * run.oversubscribed + COLOCATED * run.colocated
    over = speeds.over(SINGLE, [run]).ratio
    row = {TITLES.get(key, key): str(run.keys[key]) for key in AXES}
    row |= {key: setting(run, key) or NOTHING for key in keys}
    for metric in shown_in("summary"):
        heading, number = metric.headings["summary"], run.number(metric.name)
        scaled = None if number is None else metric.shown(number, heading)
        row[heading] = _number(scaled, f".{metric.digits}f", mark if metric.timed else "")
        if metric.name == SPEED:
            row["speed-up"] = _number(over and over.mean, ".2f")
    return row | {"status": run.status}


def _number(value: float | None, form: str, mark: str = "") -> str:
    return NOTHING if value is None else format(value, form) + mark


SHOWN = {
    "accuracy": (
        "n",
        "diverged",
        "accuracy",
        "accuracy_low",
        "accuracy_high",
        "test_set_low",
        "test_set_high",
        "difference",
        "difference_low",
        "difference_high",
        "said",
        "detectable",
        "reached",
        "updates_to_target",
    ),
    "throughput": (
        "oversubscribed",
        "colocated",
        "n",
        "images_per_second",
        "over_single",
        "over_single_low",
        "over_single_high",
        "over_locked",
        "over_locked_low",
        "over_locked_high",
    ),
}
"""Columns that a terminal shows of those that a table has, after those that tell the rows apart and before those of
brief metrics."""


def shown(name: str, table: DataFrame) -> str:
    """A table of accuracies or throughputs in the terminal, the columns that are looked at first."""
    part = table[looked_at(name, table)]
    rows = ([short(cell) for cell in row] for row in part.itertuples(index=False))
    return "\n".join([name, *align([list(part.columns), *rows])])


def looked_at(name: str, table: DataFrame) -> list[str]:
    """The columns, of those that a table of accuracies or throughputs has, that are looked at first."""
    axes = list(table.columns[: list(table.columns).index(SHOWN[name][0])])
    metrics = [metric.headings[name] for metric in shown_in(name) if metric.brief]
    return [column for column in dict.fromkeys([*axes, *SHOWN[name], *metrics]) if column in table.columns]
