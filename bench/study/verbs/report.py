"""Turn records into tables, pictures and a page; nothing else is read.

It takes all runs of ``runs_dir``, or those of the sweep that the overrides compose. What an experiment has kept in a
file of records (``records``) comes from that file alone, and is written beside it.

Examples::

    python -m bench report runs_dir=runs                     tables and pictures of all runs, as results/report.html
    python -m bench report -m +experiment=grid               the runs of one sweep
    python -m bench report report.target=0.9                 and how long each took to an accuracy of 90%
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.keys import ConfigError
from bench.record.runs_dir import Records
from bench.study.launcher.check import make_folder
from bench.study.report.accuracy import accuracy_table
from bench.study.report.figure import drawn
from bench.study.report.overview import runs_table
from bench.study.report.page import Story, environments, write_page
from bench.study.report.pictures import draw_all
from bench.study.report.result import ON_TEST, Run, read_run
from bench.study.report.terminal import SHOWN, shown
from bench.study.report.throughput import throughput_table
from bench.study.sweep.compose import points
from bench.study.sweep.library import RUN
from bench.study.sweep.settings import Settings
from bench.system.file import finite

if TYPE_CHECKING:
    from pandas import DataFrame

MULTIRUN = True


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", metavar="FOLDER", help="where it is written (beside the records, or results)")
    parser.add_argument("--mix-hosts", action="store_true", help="compare throughputs of different machines")


def main(arguments: argparse.Namespace) -> int:
    """Report all runs of ``runs_dir``, or those of the sweep that the overrides compose.

    Raises:
        ConfigError: an override is wrong, there is nothing to report, or ``--results`` cannot be written.
    """
    asked_for = points(arguments.overrides, arguments.multirun, RUN.beside(arguments.config_dir))
    settings = asked_for[0].settings
    reporting = settings.report
    asked = {point.config.hash(): " ".join(point.overrides) for point in asked_for} if _is_choice(arguments) else None
    found = settings.read(read_run, asked)
    for problem in found.problems:
        print(f"passed over: {problem}", file=sys.stderr)
    if not found.runs:
        raise ConfigError(_nothing(settings, asked is not None))
    tables = {
        "accuracy": accuracy_table(found.runs, reporting.margin, reporting.target),
        "throughput": throughput_table(found.runs, arguments.mix_hosts),
        "runs": runs_table(found.runs),
    }
    folder = make_folder("--results", arguments.results or str(Path(settings.records or "results/records").parent))
    _write(folder, tables, found, _missing(asked, found))
    for name in SHOWN:
        print(f"{shown(name, tables[name])}\n")
    diverged = sum(run.diverged for run in found.runs)
    told = f"{len(found.runs)} runs" + (f", {diverged} of them diverged" if diverged else "")
    print(f"{told}: {folder}/report.html, runs.csv, accuracy.csv, throughput.csv and pictures")
    return 0


def _is_choice(arguments: argparse.Namespace) -> bool:
    """Whether the overrides name points, and not only how runs are kept and reported."""
    kept = {field.name for field in fields(Settings)}
    return any(re.split(r"[.=]", word)[0] not in kept for word in arguments.overrides)


def _nothing(settings: Settings, chosen: bool) -> str:
    place = f"records={settings.records!r}" if settings.records else f"runs_dir={settings.runs_dir!r}"
    if chosen:
        return f"{place}: holds no record of these points"
    below = sorted({str(path.parent.parent) for path in Path(settings.runs_dir).glob("*/*/record.json")})
    return f"{place}: holds no records" + (f"; there are some in {', '.join(below[:5])}" if below else "")


def _missing(asked: dict[str, str] | None, found: Records[Run]) -> list[str]:
    there = {run.name for run in found.runs}
    return [f"{name}: {words}" for name, words in (asked or {}).items() if name not in there]


def _write(folder: Path, tables: dict[str, DataFrame], found: Records[Run], missing: Sequence[str]) -> None:
    try:
        for name, table in tables.items():
            table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        (folder / "metrics.json").write_text(json.dumps(finite(_metrics(found.runs, tables)), indent=2) + "\n")
        pictures = draw_all(found.runs, folder)
        title = f"staleness-bench: {len(found.runs)} runs"
        story = Story(title, _facts(found.runs), found.problems, found.failures, missing)
        page = folder / "report.html"
        drawn(page, lambda: write_page(page, story, tables, pictures))
    except OSError as error:
        raise ConfigError(f"--results={str(folder)!r}: cannot be written ({error.strerror})") from None


def _facts(runs: Sequence[Run]) -> dict[str, list[str]]:
    """What the runs ran on, with what, and when."""
    facts = environments([run.environment for run in runs])
    facts["uncommitted changes"] = sorted({str(run.environment.get("git_dirty")) for run in runs})
    facts["data"] = sorted({f"{run.data['name']} ({run.data['digest']})" for run in runs})
    if diverged := sum(run.diverged for run in runs):
        facts["diverged"] = [f"{diverged} of {len(runs)} runs: without an accuracy, and in no mean of accuracies"]
    if tested := [run for run in runs if run.curves == "test"]:
        facts["curves"] = [f"{len(tested)} of {len(runs)} runs {ON_TEST}"]
    return facts | {"from": [min(run.started for run in runs)], "to": [max(run.finished for run in runs)]}


def _metrics(runs: Sequence[Run], tables: dict[str, DataFrame]) -> dict[str, Any]:
    """The few numbers that ``dvc metrics show`` compares, by group."""
    labels = {run.name: run.label for run in runs}
    metrics: dict[str, Any] = {}
    for table, columns in (
        ("accuracy", ("accuracy", "difference")),
        ("throughput", ("images_per_second", "over_single")),
    ):
        for row in tables[table].to_dict("records"):
            first = row["runs"].split()[0]
            name = labels[first] if len(set(labels.values())) == len(tables["accuracy"]) else f"{labels[first]} {first}"
            metrics.setdefault(name, {}).update({column: row[column] for column in columns})
    return metrics
