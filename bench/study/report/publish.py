"""The files of a report: tables, the few numbers that DVC compares, pictures and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.keys import ConfigError
from bench.record.runs_dir import Records
from bench.study.report.figure import drawn
from bench.study.report.overview import runs_table
from bench.study.report.page import Story, environments, write_page
from bench.study.report.pictures import draw_all
from bench.study.report.quality_table import by_quality, quality_tables
from bench.study.report.result import LOST, ON_TEST, Run, doubts_of
from bench.study.report.sheet import REPORT
from bench.study.report.throughput import throughput_table
from bench.system.file import finite

if TYPE_CHECKING:
    from pandas import DataFrame


def tables_of(
    runs: Sequence[Run], margin: float | None, target: float | None, mix_hosts: bool = False
) -> dict[str, DataFrame]:
    """The tables of runs, by name. Arguments are those of the tables of qualities and throughput."""
    return {
        **quality_tables(runs, margin, target),
        "throughput": throughput_table(runs, mix_hosts),
        "runs": runs_table(runs),
    }


def write_report(
    folder: Path, runs: Sequence[Run], tables: Mapping[str, DataFrame], story: Story, inline: bool = False
) -> dict[str, str]:
    """Write the tables of runs, each quality's, ``throughput`` and ``runs``, ``metrics.json``, pictures and the page.

    The same runs, tables and story give the same bytes.

    Returns:
        The captions of the pictures, by their files' names.

    Args:
        inline: put plotly's script into the page, and not beside it.

    Raises:
        ConfigError: ``folder``, which ``--results`` names, cannot be written.
    """
    try:
        for name, table in tables.items():
            table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        (folder / "metrics.json").write_text(json.dumps(finite(_metrics(runs, tables)), indent=2) + "\n")
        charts = draw_all(runs, folder)
        page = folder / REPORT
        drawn(page, lambda: write_page(page, story, tables, charts, inline=inline))
        return {f"{chart.name}.png": chart.caption for chart in charts}
    except OSError as error:
        raise ConfigError(f"--results={str(folder)!r}: cannot be written ({error.strerror})") from None


def story_of(found: Records[Run], asked: Mapping[str, str] | None, name: str = "staleness-bench") -> Story:
    """What a page tells of the records that were found beside their tables.

    Args:
        asked: the overrides of each point that was asked for, by hash; None for whatever there is.
        name: what the page is of.
    """
    there = {run.name for run in found.runs}
    missing = [f"{run}: {words}" for run, words in (asked or {}).items() if run not in there]
    title = f"{name}: {len(found.runs)} runs"
    return Story(title, _facts(found.runs), found.problems, found.failures, missing)


def told_of(runs: Sequence[Run]) -> str:
    """How many runs there are, and where, with what and when they were made, in a line."""
    facts = _facts(runs)
    machines = sorted({" ".join(run.host.values()) for run in runs})
    commits = ", ".join(commit[:9] for commit in facts["commit"])
    told = [f"{len(runs)} runs on {'; '.join(machines)}", f"torch {', '.join(facts['torch'])}", f"commit {commits}"]
    days = sorted({facts["from"][0][:10], facts["to"][0][:10]})
    return ", ".join([*told, " to ".join(days), *(f"in doubt: {each}" for each in facts.get("in doubt", []))])


def _facts(runs: Sequence[Run]) -> dict[str, list[str]]:
    """What the runs ran on, with what, and when."""
    facts = environments([run.environment for run in runs])
    facts |= {"in doubt": [doubts]} if (doubts := doubts_of(runs)) else {}
    facts["data"] = sorted({f"{run.data['name']} ({run.data['digest']})" for run in runs})
    if diverged := sum(run.diverged for run in runs):
        facts["diverged"] = [f"{diverged} of {len(runs)} runs {LOST}"]
    if tested := [run for run in runs if run.curves == "test"]:
        facts["curves"] = [f"{len(tested)} of {len(runs)} runs {ON_TEST}"]
    return facts | {"from": [min(run.started for run in runs)], "to": [max(run.finished for run in runs)]}


def _metrics(runs: Sequence[Run], tables: Mapping[str, DataFrame]) -> dict[str, Any]:
    """The few numbers that ``dvc metrics show`` compares, by group."""
    labels, names = {run.name: run.label for run in runs}, list(by_quality(runs))
    groups, metrics = sum(len(tables[name]) for name in names), dict[str, Any]()
    speed = next(column for column in tables["throughput"].columns if column.endswith("_per_second"))
    wanted = [*((name, (name, "difference")) for name in names), ("throughput", (speed, "over_single"))]
    for table, columns in wanted:
        for row in tables[table].to_dict("records"):
            first = row["runs"].split()[0]
            name = labels[first] if len(set(labels.values())) == groups else f"{labels[first]} {first}"
            metrics.setdefault(name, {}).update({column: row[column] for column in columns})
    return metrics
