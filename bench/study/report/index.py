"""The page of a collection of reports: what each has found, and all of it in one picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.keys import ConfigError
from bench.plan.interval import Interval
from bench.study.report.chart import Axis, Chart, Datum, Panel, Series, colour_of, exactly
from bench.study.report.page import Story, write_page
from bench.study.report.sheet import DOUBT, EXPERIMENT, REPORT
from bench.study.report.terminal import is_shown
from bench.task.judgement import KNOWN

if TYPE_CHECKING:
    from pandas import DataFrame

TABLES = ("throughput", "runs")
"""The tables of a report of runs, beside one of each quality; any other report is listed without what it has found."""
HEADLINES = "headlines"
KEYS = ("K", "S", "staleness", "method")
LOSS = ("difference", "difference_low", "difference_high")
SPEED = ("over_single", "over_single_low", "over_single_high")
GAIN = ("over_locked", "over_locked_low", "over_locked_high")
CAPTION = (
    "What was gained and lost: throughput over one agent's, against the difference in quality from "
    "back-propagation in pairs of the same seed. Where speeds cannot be compared there is no mark."
)


def write_index(folder: Path) -> Path:
    """Write ``index.html``, of the reports whose folders lie in ``folder``: of their tables, and of nothing else.

    Raises:
        ConfigError: the page cannot be written.
    """
    import pandas

    pages = sorted(page.parent for page in folder.glob(f"*/{REPORT}"))
    reports = {page.name: _tables(page) for page in pages}
    headlines: dict[str, list[dict[str, Any]]] = {}
    for name, tables in reports.items():
        for quality in _qualities(tables):
            headlines.setdefault(quality, []).extend(_headlines(name, tables, quality))
    experiments = [_experiment(name, tables) for name, tables in reports.items()]
    tables = {"experiments": pandas.DataFrame(experiments)}
    for quality, lines in headlines.items():
        tables[HEADLINES if len(headlines) == 1 else f"{HEADLINES}, {quality}"] = pandas.DataFrame(lines)
    panels = [panel for quality, lines in headlines.items() if (panel := _panel(lines, quality)).series]
    charts = [Chart("gains", CAPTION, [("", panels)])] if panels else []
    path = folder / "index.html"
    try:
        write_page(path, Story(f"staleness-bench: {len(pages)} reports", {}, [], {}, []), tables, charts)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None
    return path


def _tables(folder: Path) -> dict[str, DataFrame]:
    """The tables of a report, by name; empty where it is none of runs."""
    import pandas

    if not all((folder / f"{name}.csv").exists() for name in TABLES):
        return {}
    return {
        path.stem: pandas.read_csv(path, keep_default_na=False, na_values=[""]) for path in sorted(folder.glob("*.csv"))
    }


def _qualities(tables: Mapping[str, DataFrame]) -> list[str]:
    """The qualities that a report has a table of."""
    return [name for name, table in tables.items() if name not in TABLES and is_shown(name, table)]


def _experiment(name: str, tables: Mapping[str, DataFrame]) -> dict[str, Any]:
    """The row of a report: how much it has, of what, when and where."""
    row: dict[str, Any] = {EXPERIMENT: name}
    if not tables:
        return row | dict.fromkeys(
            ("groups", "runs made", "diverged", "in doubt", "data", "host", "torch", "from", "to"), ""
        )
    runs = tables["runs"]
    judged = [tables[name] for name in _qualities(tables)]
    groups = sum(map(len, judged))
    row |= {"groups": str(groups), "runs made": str(len(runs))}
    row |= {"diverged": str(sum(runs["status"] == "diverged"))}
    doubts = sum(table[DOUBT].count() for table in judged if DOUBT in table)
    row |= {"in doubt": f"{doubts} of {groups} groups" if doubts else ""}
    row |= {key: ", ".join(sorted({str(value) for value in runs[key]})) for key in ("data", "host", "torch")}
    return row | {"from": str(min(runs["started"]))[:10], "to": str(max(runs["finished"]))[:10]}


def _headlines(name: str, tables: Mapping[str, DataFrame], quality: str) -> Iterator[dict[str, Any]]:
    """Yield what was found of each group of runs on each machine: its quality, what it cost, and what it gained."""
    judged, told = tables[quality], ("n", quality, f"{quality}_low", f"{quality}_high", *LOSS)
    rest = [column for column in judged.columns[: list(judged.columns).index("n")] if column not in KEYS]
    by_run = {run: row for row in judged.to_dict("records") for run in str(row["runs"]).split()}
    for speed in tables["throughput"].to_dict("records"):
        worth = by_run.get(str(speed["runs"]).split()[0])
        if worth is None:  # of another quality
            continue
        line: dict[str, Any] = {EXPERIMENT: name, **{key: worth[key] for key in KEYS}}
        line["settings"] = " ".join(f"{key}={_plain(worth[key])}" for key in rest if not _is_missing(worth[key]))
        line |= {column: worth.get(column, math.nan) for column in told} | {"said": worth.get("said", "")}
        line |= {column: value for column, value in speed.items() if str(column).endswith("_per_second")}
        line |= {column: speed.get(column, math.nan) for column in (*SPEED, *GAIN)}
        yield line | {"host": speed.get("host", ""), "runs": speed["runs"]}


def _panel(lines: Sequence[Mapping[str, Any]], quality: str) -> Panel:
    """A series for each experiment, and a mark for each of its groups that has both a gain and a loss."""
    series: dict[str, list[Datum]] = {}
    for line in lines:
        if not _is_missing(line["over_single"]) and not _is_missing(line[LOSS[0]]):
            series.setdefault(line[EXPERIMENT], []).append(_mark(line))
    named = enumerate(sorted(series.items()))
    found = [Series(name, "points", colour_of(number), marks) for number, (name, marks) in named]
    share = quality in KNOWN and KNOWN[quality].is_share
    return Panel(
        Axis("throughput over one agent's"), Axis(f"difference in {quality}", "share" if share else "number"), found
    )


def _mark(line: Mapping[str, Any]) -> Datum:
    gain, loss = _interval(line, "over_single"), _interval(line, LOSS[0])
    words = f"K{line['K']} S{line['S']} {line['method']} c{line['staleness']} {line['settings']}".strip()
    runs, page = tuple(str(line["runs"]).split()), f"{line[EXPERIMENT]}/{REPORT}"
    return Datum(gain, loss, runs, f"{line[EXPERIMENT]}: {words}", page)


def _interval(line: Mapping[str, Any], column: str) -> Interval:
    centre, low, high = (float(line[name]) for name in (column, f"{column}_low", f"{column}_high"))
    return exactly(centre) if math.isnan(low) else Interval(centre, low, high, int(line["n"]))


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _plain(value: Any) -> str:
    """A value of a CSV file as it stood there: a column with gaps is read as one of fractions."""
    return f"{value:g}" if isinstance(value, float) else str(value)
