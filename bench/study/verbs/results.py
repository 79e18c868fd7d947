"""Make all that is published, of the records that git keeps and of nothing else.

Of every experiment that has a file of records: tables, pictures and a page beside it. Of all together: ``index.html``
and ``README.md`` in ``results``, and the tables in the ``README.md`` of the folder that we are in, where it has places
for them. The same records give the same bytes.

Examples::

    python -m bench results                                  what results/ and the README tell, made again
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.keys import ConfigError
from bench.study.compare.told import benchmark_sections
from bench.study.report.index import write_index
from bench.study.report.markdown import Chapter, filled, table_of
from bench.study.report.publish import story_of, tables_of, told_of, write_report
from bench.study.report.result import read_run
from bench.study.report.script import put_script
from bench.study.sweep.compose import Point, points, settings_of
from bench.study.sweep.library import Primary
from bench.study.tune.finding import recalled
from bench.study.tune.findings import studies_table, write_findings
from bench.study.tune.study import TUNE, Study, study_of
from bench.system.file import write_atomic

RESULTS = Path("results")
HEAD = """# Results

Made by `python -m bench results` of the records in git, byte for byte; [index.html](index.html) is the same to sort,
filter and hover over. How intervals, words and ratios come about is told in the [README](../README.md#comparing)."""


def main(arguments: argparse.Namespace) -> int:
    """Make them again; return the exit code.

    Raises:
        ConfigError: there is something that nobody takes, an experiment is wrong, or none has records.
    """
    if arguments.overrides:
        raise ConfigError(f"{arguments.overrides[0]}: results takes no overrides; experiments say all of themselves")
    primary = TUNE.beside(arguments.config_dir)
    kept = dict(_kept(primary))
    if not kept:
        raise ConfigError("results: no experiment has a file of records; allowed is where one has run")
    put_script(RESULTS)
    sections = [_chapter(name, asked, primary) for name, asked in kept.items()]
    write_index(RESULTS)
    page = "\n\n".join([HEAD, *(section.text() for section in [*sections, *benchmark_sections(RESULTS)])])
    write_atomic(RESULTS / "README.md", f"{page}\n".encode())
    readme = Path("README.md")
    if readme.exists():
        tables = {(each.name, table): table_of(each.tables, table) for each in sections for table in each.tables}
        write_atomic(readme, filled(readme.read_text(encoding="utf-8"), tables).encode())
    print(f"{len(sections)} experiments: {RESULTS}/README.md, index.html, and a report.html of each")
    return 0


def _kept(primary: Primary) -> Iterator[tuple[str, list[Point]]]:
    """Each experiment that has records, with its points."""
    for name in primary.choices("experiment"):
        words = [f"+experiment={name}"]
        kept = settings_of(words, primary).records_file
        if kept is not None and kept.path.exists():
            yield name, points(words, True, primary)


def _chapter(name: str, asked: Sequence[Point], primary: Primary) -> Chapter:
    """Make the report of an experiment; return what the page tells of it."""
    study = study_of(asked[0], primary)
    if study.trials_file and study.trials_file.path.exists():
        return _studies(name, [study_of(point, primary) for point in asked], primary)
    return _sweep(name, asked, primary)


def _sweep(name: str, asked: Sequence[Point], primary: Primary) -> Chapter:
    settings, wanted = asked[0].settings, {point.config.hash(): " ".join(point.overrides) for point in asked}
    found = settings.read(read_run, wanted)
    folder = Path(str(settings.records)).parent
    tables = tables_of(found.runs, settings.report.margin, settings.report.target)
    pictures = write_report(folder, found.runs, tables, story_of(found, wanted, name))
    files = ["records.jsonl", "report.html", *(f"{table}.csv" for table in tables)]
    about = [*_about(name, primary), f"{told_of(found.runs)}: {_links(folder, files)}."]
    if missing := len(wanted) - len(found.runs):
        about.append(f"**{missing} of its {len(wanted)} points are still to be made.**")
    told = {table: frame for table, frame in tables.items() if table != "runs"}
    return Chapter(name, about, told, {_address(folder / file): caption for file, caption in pictures.items()})


def _studies(name: str, studies: Sequence[Study], primary: Primary) -> Chapter:
    findings = [recalled(study) for study in studies]
    folder = Path(str(studies[0].settings.records)).parent
    pictures = write_findings(findings, folder)
    runs = [run for finding in findings for run in finding.repeated]
    files = ["records.jsonl", "trials.jsonl", "report.html", "studies.csv", "trials.csv"]
    about = [*_about(name, primary), f"{told_of(runs)}: {_links(folder, files)}."]
    named = {_address(path): f"trials of {path.stem}" for path in pictures}
    return Chapter(name, about, {"studies": studies_table(findings)}, named)


def _about(name: str, primary: Primary) -> list[str]:
    """The command of an experiment, and what its file says of it at its head, as paragraphs."""
    files = [place / "experiment" / f"{name}.yaml" for place in primary.places]
    lines = next(file for file in files if file.exists()).read_text(encoding="utf-8").splitlines()
    head = [line.removeprefix("#").strip() for line in lines if line.startswith("#") and "@package" not in line]
    command, *words = head or [f"+experiment={name}"]
    return [f"`{command}`", *([" ".join(words)] if words else [])]


def _links(folder: Path, files: Sequence[str]) -> str:
    return ", ".join(f"[{file}]({_address(folder / file)})" for file in files)


def _address(path: Path) -> str:
    """A file's address, as the page of results names it."""
    return Path(os.path.relpath(path, RESULTS)).as_posix()
