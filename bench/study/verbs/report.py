"""Turn records into tables, pictures and a page; nothing else is read.

It takes all runs of ``runs_dir``, or those of the sweep that the overrides compose. What an experiment has kept in a
file of records (``records``) comes from that file alone, and is written beside it.

Examples::

    python -m bench report runs_dir=runs                     tables and pictures of all runs, as results/report.html
    python -m bench report -m +experiment=grid               the runs of one sweep
    python -m bench report report.target=0.9                 and how long each took to reach that quality
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.keys import ConfigError
from bench.study.launcher.check import make_folder
from bench.study.report.publish import story_of, tables_of, write_report
from bench.study.report.result import doubts_of, read_run
from bench.study.report.terminal import is_shown, shown
from bench.study.sweep.compose import points
from bench.study.sweep.library import RUN
from bench.study.sweep.settings import Settings, names_points

MULTIRUN = True


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", metavar="FOLDER", help="where it is written (beside the records, or results)")
    parser.add_argument("--mix-hosts", action="store_true", help="compare throughputs of different machines")
    parser.add_argument("--inline", action="store_true", help="a page that is one file, with plotly's 5 MB in it")


def main(arguments: argparse.Namespace) -> int:
    """Report all runs of ``runs_dir``, or those of the sweep that the overrides compose.

    Raises:
        ConfigError: an override is wrong, there is nothing to report, or ``--results`` cannot be written.
    """
    asked_for = points(arguments.overrides, arguments.multirun, RUN.beside(arguments.config_dir))
    settings = asked_for[0].settings
    reporting = settings.report
    chosen = names_points(arguments.overrides)
    asked = {point.config.hash(): " ".join(point.overrides) for point in asked_for} if chosen else None
    found = settings.read(read_run, asked)
    for problem in found.problems:
        print(f"passed over: {problem}", file=sys.stderr)
    if not found.runs:
        raise ConfigError(_nothing(settings, chosen))
    tables = tables_of(found.runs, reporting.margin, reporting.target, arguments.mix_hosts)
    folder = make_folder("--results", arguments.results or str(Path(settings.records or "results/records").parent))
    write_report(folder, found.runs, tables, story_of(found, asked), arguments.inline)
    for name, table in tables.items():
        if is_shown(name, table):
            print(f"{shown(name, table)}\n")
    diverged = sum(run.diverged for run in found.runs)
    told = f"{len(found.runs)} runs" + (f", {diverged} of them diverged" if diverged else "")
    told += f", in doubt {doubts}" if (doubts := doubts_of(found.runs)) else ""
    print(f"{told}: {folder}/report.html, {', '.join(f'{name}.csv' for name in tables)} and pictures")
    return 0


def _nothing(settings: Settings, chosen: bool) -> str:
    place = f"records={settings.records!r}" if settings.records else f"runs_dir={settings.runs_dir!r}"
    if chosen:
        return f"{place}: holds no record of these points"
    below = sorted({str(path.parent.parent) for path in Path(settings.runs_dir).glob("*/*/record.json")})
    return f"{place}: holds no records" + (f"; there are some in {', '.join(below[:5])}" if below else "")
