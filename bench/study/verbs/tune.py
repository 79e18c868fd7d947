"""Search, with Optuna, for the best learning rate among those that are proven to converge.

A study's trials are runs, kept as others are. It is resumed by the same command, and what it finds is a preset,
``lr=tuned/<study>``. With ``-m`` each point is a study of its own.

Examples::

    python -m bench tune trials=40                           the best of the schedules that are proven to converge
    python -m bench tune -m staleness=0,2 trials=40          the same for back-propagation and FDG, with equal budgets
    python -m bench tune tuning.conditions=none trials=40    any schedule
    python -m bench tune trials=40 dry_run=true              what that would search, and for how long at most
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Literal, get_args, get_origin, get_type_hints

from bench.engine.seat import under_torchrun
from bench.keys import ConfigError
from bench.study.launcher.agents import imports
from bench.study.launcher.check import check_all, made, make_folder
from bench.study.predict.estimate import duration, estimate
from bench.study.sweep.compose import points
from bench.study.sweep.library import USERS, typed
from bench.study.tune.finding import Finding, find, recalled
from bench.study.tune.findings import print_findings, write_findings
from bench.study.tune.preset import TUNED, write_schedule
from bench.study.tune.search import Search
from bench.study.tune.study import TUNE, Study, study_of
from bench.study.tune.tuning import Tuning
from bench.system.call import Call, warm_up

MULTIRUN = True


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", metavar="FOLDER", help="for tables (beside the records, or results/studies)")
    parser.add_argument("--report", action="store_true", help="make the tables of what is kept; nothing is searched")
    keys = ["trials", *(f"tuning.{name}{_words(kind)}" for name, kind in get_type_hints(Tuning).items())]
    told = "\n  ".join(["keys beside a run's (conf/tune.yaml explains each):", *wrap(" ".join(keys), 110)])
    parser.epilog = f"{told}\n\n{parser.epilog}"


def _words(kind: object) -> str:
    """The words that a key may be; nothing if it is none of a few words."""
    return f"={'|'.join(get_args(kind))}" if get_origin(kind) is Literal else ""


def main(arguments: argparse.Namespace) -> int:
    """Run the studies that the command line asks for up to their numbers of trials; 1 if a run failed in the end.

    Raises:
        ConfigError: a configuration is wrong, or a database cannot be used.
        Interrupted: the user wants the end.
    """
    primary, named = TUNE.beside(arguments.config_dir), arguments.config_dir
    studies = [study_of(point, primary) for point in points(arguments.overrides, arguments.multirun, primary)]
    names = Counter(study.tuning.study for study in studies)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ConfigError(
            f"tuning.study={twice[0]!r}: {names[twice[0]]} points of the sweep; allowed is a name for each"
        )
    if arguments.report:
        return _report(studies, arguments)
    if under_torchrun():
        raise ConfigError("tune: torchrun starts the agents of exactly one run; tune starts its own")
    studies[0].settings.check_launcher()
    warm_up(imports(study.run for study in studies))
    prepared = Call(check_all, [study.run for study in studies]).result()
    if studies[0].settings.dry_run:
        return _preview(studies, prepared)
    studies[0].settings.tracker().prepare()
    words = typed(arguments.overrides, named)
    searches = [Search(study, data, words) for study, data in zip(studies, prepared, strict=True)]
    for search in searches:
        search.trials.check()
    folders = [("runs_dir", studies[0].settings.runs_dir), ("--results", _folder(studies[0], arguments))]
    with made(*folders, ("--config-dir", str(Path(named or USERS, TUNED)))) as (_, results, _):
        for search in searches:
            search.open()
    return _run(searches, results, named)


def _report(studies: Sequence[Study], arguments: argparse.Namespace) -> int:
    """Write and print, for ``--report``, what the studies have found that the file of studies has."""
    findings = [recalled(study) for study in studies]
    results = make_folder("--results", _folder(studies[0], arguments))
    for finding in findings:
        write_schedule(finding, arguments.config_dir)
    write_findings(findings, results)
    print_findings(findings)
    return 0


def _folder(study: Study, arguments: argparse.Namespace) -> str:
    """Where tables are written: beside the records, where no folder is named."""
    return arguments.results or str(study.trials_file.path.parent if study.trials_file else "results/studies")


def _run(searches: Sequence[Search], results: Path, named: str | None) -> int:
    for search in searches:
        search.run_trials()
    findings: list[Finding] = []
    for search in searches:
        search.conclude()
        findings.append(find(search.study, search.trials, search.space.epochs))
        write_schedule(findings[-1], named)
    files = write_findings(findings, results)
    table = print_findings(findings)
    for search in searches:
        search.end(table, [file for file in files if file.stem == search.study.tuning.study])
        search.runner.print_failures(search.study.settings.runs_dir)
    print(f"\n{results}/report.html, studies.csv, trials.csv and pictures")
    return 1 if any(search.runner.failures for search in searches) else 0


def _preview(studies: Sequence[Study], prepared: Sequence[Path | None]) -> int:
    """Print, for ``dry_run=true``, what would be searched, and for how long at most; return the exit code."""
    seconds: list[float] = Call(estimate, [study.run for study in studies], prepared).result()
    for study, estimated in zip(studies, seconds, strict=True):
        launcher, parts = study.launcher(), (study.trials, study.tuning.repeats)
        whole = duration(sum(launcher.span([study.run] * count, [estimated] * count) for count in parts))
        print(
            f"{study.tuning.study}: {study.trials} trials and {study.tuning.repeats} repeats of {study.run.epochs} "
            f"epochs among {', '.join(study.families)}; about {whole} without pruning"
        )
    return 0
