"""Finished runs side by side, as one table of plain text."""

from __future__ import annotations

from collections.abc import Sequence

from bench.study.comparison import SINGLE, SPEED, Speeds
from bench.study.runs import AXES, TITLES, Run, setting, varying

MARK = "*"
FOOTNOTE = "* more agents than cores: throughput is not comparable"
NOTHING = "-"


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
    if diverged := sum(run.diverged for run in runs):
        notes.append(f"{diverged} of {len(runs)} runs diverged: without an accuracy, and in no mean of accuracies")
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def _row(run: Run, keys: Sequence[str], speeds: Speeds) -> dict[str, str]:
    mark = MARK if run.oversubscribed else ""
    over = speeds.over(SINGLE, [run]).ratio
    row = {TITLES.get(key, key): str(run.keys[key]) for key in AXES}
    row |= {key: setting(run, key) or NOTHING for key in keys}
    row |= {"img/s": _number(run.number(SPEED), ".0f", mark), "speed-up": _number(over and over.mean, ".2f")}
    row["efficiency"] = _number(run.number("throughput/efficiency"), ".2f")
    for lock in ("forward", "backward", "update"):
        row[f"{lock} lock %"] = _percent(run.number(f"locking/{lock}_fraction"))
    row["test accuracy %"] = _percent(run.number("accuracy/test"))
    return row | {"status": run.status}


def _percent(fraction: float | None) -> str:
    return _number(None if fraction is None else 100 * fraction, ".1f")


def _number(value: float | None, form: str, mark: str = "") -> str:
    return NOTHING if value is None else format(value, form) + mark


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out rows, the header first, as Markdown that is also straight in a terminal: numbers to the right."""
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    numeric = [all(_is_number(row[column]) for row in rows[1:]) for column in range(len(widths))]
    rule = "|".join("-" * (width + 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True))
    lines = [" | ".join(_pad(*cell) for cell in zip(row, widths, numeric, strict=True)) for row in rows]
    body = [f"| {line} |" for line in lines]
    return [body[0], f"|{rule}|", *body[1:]]


def _pad(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _is_number(text: str) -> bool:
    return text == NOTHING or text.removesuffix(MARK).replace(".", "", 1).lstrip("-").isdigit()
