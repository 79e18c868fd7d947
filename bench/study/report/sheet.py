"""A table as a page shows it: what is looked at first, an interval in one cell with its mean, shares in per cent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.record.metrics import METRICS, SECONDS, is_quality
from bench.study.report.chart import decimals
from bench.study.report.terminal import QUALITY, SHOWN, is_shown, looked_at
from bench.task.judgement import KNOWN

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
    "studies": f"study staleness conditions {QUALITY} over_locked over_locked_said over_unrestricted "
    "over_unrestricted_said shape covered margin run",
    "headlines": f"experiment K S staleness method settings n {QUALITY} difference said "
    "units_per_second over_single over_locked",
    "trials": f"study trial state run {QUALITY} epochs feasible lr.name lr.gamma0",
}
"""Columns that are looked at first in tables that a terminal does not show; in others they are all."""
SHARES = {metric.headings.get(table, metric.name) for metric in METRICS for table in SHOWN if metric.unit == "fraction"}
OF_QUALITY = ("difference", "detectable", "test_set")
"""What names of columns have in them that are of the table's quality, and so of shares where that is a share."""
DIFFERENCES = {("studies", "over_locked"), ("studies", "over_unrestricted")}
"""Columns of differences of qualities that are not called so, each with its table."""
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
    shares = {column for column in names if _is_share(column, name, table)}
    rows = table.to_dict("records")
    lines = []
    for row in rows:
        cells = [_cell(row, column, table, name, known, shares) for column in names]
        lines.append(Line(str(row["run"]) if name in OWN_ROWS else "", cells, _made_from(row, known)))
    first = _first(name, table)
    same = {column for place, column in enumerate(names) if len({line.cells[place].text for line in lines}) == 1}
    empty = {column for place, column in enumerate(names) if not any(line.cells[place].text for line in lines)}
    same = {column for column in same - {EXPERIMENT, "run"} if len(lines) > 1 and f"{column}_low" not in table.columns}
    titles = {column: _title(column, column in shares, table[column]) for column in names}
    heads = [
        Column(each, titles[each], table[each].dtype.kind in "if", each in same | empty or each not in first)
        for each in names
    ]
    told = {titles[each]: lines[0].cells[names.index(each)].text for each in names if each in same & first}
    return Sheet(name, heads, lines, {title: text for title, text in told.items() if text})


def _first(name: str, table: DataFrame) -> set[str]:
    """The columns that are looked at first."""
    if is_shown(name, table):
        return {*looked_at(name, table), DOUBT}
    columns = list(table.columns)
    if name == "runs":
        brief = {metric.name for metric in METRICS if metric.brief}
        brief |= {column for column in columns if is_quality(column) and not column.startswith("loss/")}
        brief |= {column for column in columns if column.endswith("_per_second")}
        return {*columns[: columns.index("seed") + 1], *brief, SECONDS}
    kind = name.partition(",")[0]
    return {*(_wanted(FIRST[kind], name, table) if kind in FIRST else columns)}


def _wanted(first: str, name: str, table: DataFrame) -> list[str]:
    """The columns that a table looks at first, its own quality's and its own units' among them."""
    speeds = [column for column in table.columns if column.endswith("_per_second")]
    named = {QUALITY: [_quality(name, table)], "units_per_second": speeds}
    return [column for word in first.split() for column in named.get(word, [word])]


def _quality(name: str, table: DataFrame) -> str:
    """The column of the quality that a table tells of: its own name's, or the first with an interval; of trials, that
    behind the run."""
    columns = list(table.columns)
    if name in columns:
        return name
    found = [column for column in columns if f"{column}_low" in columns]
    found += columns[columns.index("run") + 1 :] if name == "trials" else []
    return next(iter(found), "")


def _is_end(column: str, table: DataFrame) -> bool:
    """Whether a column is an end of an interval, which stands in the cell of the mean or, without one, of its start."""
    name, _, end = column.rpartition("_")
    return end in ("low", "high") and (name in table.columns or (end == "high" and f"{name}_low" in table.columns))


def _is_share(column: str, name: str, table: DataFrame) -> bool:
    """Whether a column has shares of 1: it says so itself, or it is of the table's quality, and that is one."""
    quality = column.partition("/")[0] if is_quality(column) else _quality(name, table)
    if column in SHARES or "coverage" in column:
        return True
    its_own = (name, column) in DIFFERENCES or any(word in column for word in (quality, *OF_QUALITY))
    return quality in KNOWN and KNOWN[quality].is_share and its_own


def _title(column: str, share: bool, values: Any) -> str:
    unit = " %" if share and values.dtype.kind == "f" else ""
    return column.removesuffix("_low").replace("_", " ") + unit


def _cell(row: Mapping[Any, Any], column: str, table: DataFrame, name: str, known: set[str], shares: set[str]) -> Cell:
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
    return Cell(_in_words(column, name, numbers, column in shares), repr(value).replace("inf", "Infinity"), "")


def _in_words(column: str, name: str, numbers: Sequence[float], share: bool) -> str:
    """A number, a mean with the ends of its interval where it has one, or the ends alone: ``98.9 (98.3 to 99.6)``."""
    scale, digits = 1.0, decimals(numbers[0], DIGITS if len(numbers) == 1 else 3)
    if share:
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
