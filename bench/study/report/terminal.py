"""Finished runs side by side, as one table of plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.record.metrics import SPEED, shown_in
from bench.study.report.align import COLOCATED, CROWDED, NOTHING, align
from bench.study.report.cells import short
from bench.study.report.pairing import SINGLE, Speeds
from bench.study.report.result import AXES, LOST, ON_TEST, TITLES, Run, doubts_of, setting, varying
from bench.study.report.throughput import counted
from bench.task.contract import Quality
from bench.task.judgement import Judgement

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
    units, qualities = counted(runs), list({run.quality.name: run.quality for run in runs}.values())
    rows = [_row(run, keys, speeds, units, qualities) for run in ordered]
    lines = align([list(rows[0]), *(list(row.values()) for row in rows)])
    notes = [FOOTNOTE] if any(run.oversubscribed for run in runs) else []
    notes += [COMPANY] if any(run.colocated for run in runs) else []
    if diverged := sum(run.diverged for run in runs):
        notes.append(f"{diverged} of {len(runs)} runs {LOST}")
    if tested := [run for run in runs if run.curves == "test"]:
        notes.append(f"{len(tested)} of {len(runs)} runs {ON_TEST}")
    if doubts := doubts_of(runs):
        notes.append(f"in doubt: {doubts}")
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def _row(
    run: Run, keys: Sequence[str], speeds: Speeds, units: Judgement, qualities: Sequence[Quality]
) -> dict[str, str]:
    mark = CROWDED * run.oversubscribed + COLOCATED * run.colocated
    over = speeds.over(SINGLE, [run]).ratio
    row = {TITLES.get(key, key): str(run.keys[key]) for key in AXES}
    row |= {key: setting(run, key) or NOTHING for key in keys}
    for metric in shown_in("summary"):
        heading, number = metric.heading("summary", units), run.number(metric.name)
        scaled = None if number is None else metric.shown(number, heading)
        row[heading] = _number(scaled, f".{metric.digits}f", mark if metric.timed else "")
        if metric.name == SPEED:
            row["speed-up"] = _number(over and over.mean, ".2f")
    for quality in qualities:
        worth = run.worth if run.quality.name == quality.name else None
        told = None if worth is None else quality.scale * worth
        row[f"test {quality.heading}"] = _number(told, f".{quality.digits}f")
    return row | {"status": run.status}


def _number(value: float | None, form: str, mark: str = "") -> str:
    return NOTHING if value is None else format(value, form) + mark


QUALITY = "quality"
"""What stands for a quality's name in :data:`SHOWN`."""
SHOWN = {
    QUALITY: (
        "n",
        "diverged",
        QUALITY,
        f"{QUALITY}_low",
        f"{QUALITY}_high",
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
        "{units}_per_second",
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
    """A table of qualities or throughputs in the terminal, the columns that are looked at first."""
    part = table[looked_at(name, table)]
    rows = ([short(cell) for cell in row] for row in part.itertuples(index=False))
    return "\n".join([name, *align([list(part.columns), *rows])])


def looked_at(name: str, table: DataFrame) -> list[str]:
    """The columns, of those that a table of qualities or throughputs has, that are looked at first."""
    columns = list(table.columns)
    if name == "throughput":
        first = [next(iter(filter(_is_speed, columns))) if _is_speed(each) else each for each in SHOWN[name]]
        first += [metric.headings[name] for metric in shown_in(name) if metric.brief]
    else:
        first = [each.replace(QUALITY, name) for each in SHOWN[QUALITY]]
    axes = columns[: min(columns.index(each) for each in first if each in columns)]
    return [column for column in dict.fromkeys([*axes, *first]) if column in columns]


def is_shown(name: str, table: DataFrame) -> bool:
    """Whether a terminal shows a table: that of throughputs, and of a quality."""
    return name == "throughput" or {name, "detectable"} <= {*table.columns}


def _is_speed(column: str) -> bool:
    return column.endswith("_per_second")
