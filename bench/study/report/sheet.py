"""A table as a page shows it: what is looked at first, an interval in one cell with its mean, shares in per cent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.record.metrics import METRICS, SECONDS, VALIDATED
from bench.study.report.chart import decimals
from bench.study.report.terminal import SHOWN, looked_at

if TYPE_CHECKING:
    from pandas import DataFrame

MADE_FROM = ("runs", "single_runs", "locked_runs", "backpropagation_runs", "repeats")
"""Columns of names of runs, which each row has folded away."""
OWN_ROWS = ("runs", "trials")
"""Tables whose rows are runs: what links to a run leads there."""
REPORT = "report.html"
EXPERIMENT = "experiment"
"""The column of an experiment's name: its folder has the report with the runs of the row."""
DOUBT = "in_doubt"
FIRST = {
    "studies": "study staleness conditions accuracy over_locked over_locked_said over_unrestricted "
    "over_unrestricted_said shape covered margin run",
    "headlines": "experiment K S staleness method settings n accuracy difference said "
    "images_per_second over_single over_locked",
    "trials": "study trial state run accuracy epochs feasible lr.name lr.gamma0",
}
"""Columns that are looked at first in tables that a terminal does not show; in others they are all."""
SHARES = {metric.headings.get(table, metric.name) for metric in METRICS for table in SHOWN if metric.unit == "fraction"}
SHARE_WORDS = ("accuracy", "difference", "detectable", "test_set", "coverage")
"""What names of other columns of shares have in them."""
DIFFERENCES = {("studies", "over_locked"), ("studies", "over_unrestricted")}
"""Columns of differences of shares that are not called so, each with its table."""
DIGITS = 4
"""Significant digits of a number that has no interval."""


@dataclass(frozen=True)
class Column:
    """A column of a page's table."""

    name: str
    """Its name in the CSV file, by which rows are filtered."""
    title: str
    number: bool
    rare: bool
    """Whether it is folded away until all columns are asked for."""


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and what it is sorted by."""

    text: str
    value: str
    address: str
    """Where its text leads; empty if nowhere."""


@dataclass(frozen=True)
class Line:
    """A row of a page's table."""

    run: str
    """The run that it is the row of; empty if it is of several."""
    cells: Sequence[Cell]
    made_from: Mapping[str, Sequence[tuple[str, str]]]
    """The runs that its cells were made from, each with the address of its row, by the name of their column."""


@dataclass(frozen=True)
class Sheet:
    """A table of a page."""

    name: str
    columns: Sequence[Column]
    lines: Sequence[Line]
    common: Mapping[str, str]
    """What is the same in every row, by its title: it needs no column."""


def sheets_of(tables: Mapping[str, DataFrame]) -> list[Sheet]:
    """The tables of a page. A name of a run is a link where the page has a row of it."""
    known = {str(run) for name in OWN_ROWS if name in tables for run in tables[name].get("run", ())}
    return [_sheet(name, table, known) for name, table in tables.items()]


def _sheet(name: str, table: DataFrame, known: set[str]) -> Sheet:
    names = [column for column in table.columns if column not in MADE_FROM and not _is_end(column, table)]
    rows = table.to_dict("records")
    lines = []
    for row in rows:
        cells = [_cell(row, column, table, name, known) for column in names]
        lines.append(Line(str(row["run"]) if name in OWN_ROWS else "", cells, _made_from(row, known)))
    first = _first(name, table)
    same = {column for place, column in enumerate(names) if len({line.cells[place].text for line in lines}) == 1}
    empty = {column for place, column in enumerate(names) if not any(line.cells[place].text for line in lines)}
    same = {column for column in same - {EXPERIMENT, "run"} if len(lines) > 1 and f"{column}_low" not in table.columns}
    titles = {column: _title(column, name, table[column]) for column in names}
    heads = [
        Column(each, titles[each], table[each].dtype.kind in "if", each in same | empty or each not in first)
        for each in names
    ]
    told = {titles[each]: lines[0].cells[names.index(each)].text for each in names if each in same & first}
    return Sheet(name, heads, lines, {title: text for title, text in told.items() if text})


def _first(name: str, table: DataFrame) -> set[str]:
    """The columns that are looked at first."""
    if name in SHOWN:
        return {*looked_at(name, table), DOUBT}
    if name == "runs":
        columns = list(table.columns)
        brief = {metric.name for metric in METRICS if metric.brief or metric.headline}
        return {*columns[: columns.index("seed") + 1], *brief, VALIDATED, SECONDS}
    return {*(FIRST[name].split() if name in FIRST else table.columns)}


def _is_end(column: str, table: DataFrame) -> bool:
    """Whether a column is an end of an interval, which stands in the cell of the mean or, without one, of its start."""
    name, _, end = column.rpartition("_")
    return end in ("low", "high") and (name in table.columns or (end == "high" and f"{name}_low" in table.columns))


def _is_share(column: str, name: str) -> bool:
    known = column in SHARES or (name, column) in DIFFERENCES
    return known or any(word in column for word in SHARE_WORDS)


def _title(column: str, name: str, values: Any) -> str:
    unit = " %" if _is_share(column, name) and values.dtype.kind == "f" else ""
    return column.removesuffix("_low").replace("_", " ") + unit


def _cell(row: Mapping[Any, Any], column: str, table: DataFrame, name: str, known: set[str]) -> Cell:
    value = row[column]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Cell("", "", "")
    if column == EXPERIMENT:
        return Cell(str(value), str(value), f"{value}/{REPORT}")
    if column == "run":
        return Cell(str(value), str(value), f"#{value}" if value in known and name not in OWN_ROWS else "")
    if not isinstance(value, float):
        return Cell(str(value), str(value), "")
    ends = (f"{column}_low", f"{column}_high", column.removesuffix("_low") + "_high")
    numbers = [value, *(row[end] for end in dict.fromkeys(ends) if end in table.columns)]
    return Cell(_in_words(column, name, numbers), repr(value).replace("inf", "Infinity"), "")


def _in_words(column: str, name: str, numbers: Sequence[float]) -> str:
    """A number, a mean with the ends of its interval where it has one, or the ends alone: ``98.9 (98.3 to 99.6)``."""
    scale, digits = 1.0, decimals(numbers[0], DIGITS if len(numbers) == 1 else 3)
    if _is_share(column, name):
        scale, digits = 100.0, 1
    sign = "+" if "difference" in column or (name, column) in DIFFERENCES else ""
    told = [f"{scale * number:{sign}.{digits}f}" for number in numbers if not math.isnan(number)]
    if len(told) == 1:
        return told[0].rstrip("0").rstrip(".") if digits > 1 and len(numbers) == 1 else told[0]
    return f"{told[0]} to {told[1]}" if len(told) == 2 else f"{told[0]} ({told[1]} to {told[2]})"


def _made_from(row: Mapping[Any, Any], known: set[str]) -> dict[str, list[tuple[str, str]]]:
    page = f"{row[EXPERIMENT]}/{REPORT}" if EXPERIMENT in row else ""
    found = {}
    for column in MADE_FROM:
        names = row.get(column)
        if isinstance(names, str) and names:
            found[column] = [(run, f"{page}#{run}" if page or run in known else "") for run in names.split()]
    return found
