"""All that a ``runs_dir`` holds: the runs' folders, and which sweeps asked for them."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from bench.keys import parse_as
from bench.record.folder import RecordError, RunFolder
from bench.system.file import write_json_atomic
from bench.system.wording import masked

Item = TypeVar("Item")

LAST_LINE_BYTES = 4096
SWEEPS = "sweeps"
"""Folder, beside those of the runs, with a file for each sweep."""
JOBS = "jobs"
"""Folder, beside those of the runs, with the logs of a cluster's jobs."""


@dataclass(frozen=True)
class Sweep:
    """What one command asked for."""

    overrides: tuple[str, ...]
    """The overrides as they were typed, but without passwords."""
    points: tuple[str, ...]
    """The hashes of the sweep's different points."""
    study: str = ""
    """The name of the study whose trials the points are; empty where there is none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "overrides", tuple(map(masked, self.overrides)))

    @property
    def is_family(self) -> bool:
        """Whether its runs have a parent in MLflow; a single run has none."""
        return bool(self.study) or len(self.points) > 1

    @property
    def name(self) -> str:
        """The sweep's name: the same points in whatever order have the same; a study keeps its own with more."""
        return self.study or hashlib.sha256(" ".join(sorted(self.points)).encode()).hexdigest()[:12]

    def write(self, runs_dir: Path) -> None:
        """Write the sweep to ``<runs_dir>/sweeps/<name>.json``."""
        content = {"overrides": list(self.overrides), "points": list(self.points), "study": self.study}
        write_json_atomic(runs_dir / SWEEPS / f"{self.name}.json", content)


@dataclass
class Records(Generic[Item]):
    """What was read from a ``runs_dir``."""

    runs: list[Item] = field(default_factory=list)
    """What was made of each record, by hash."""
    failures: dict[str, str] = field(default_factory=dict)
    """The message of each run that has one and no record, by hash."""
    problems: list[str] = field(default_factory=list)
    """What could not be read, and was passed over: a message each, which names the file."""


def run_folders(runs_dir: Path) -> list[RunFolder]:
    """The folders of the runs, by hash."""
    if not runs_dir.is_dir():
        return []
    return [RunFolder(path) for path in sorted(runs_dir.iterdir()) if path.is_dir() and path.name not in (SWEEPS, JOBS)]


def known_record(folder: RunFolder) -> dict[str, Any] | None:
    """A run's record; None where there is none, or one that cannot be read, which is named in a line on stderr."""
    try:
        return folder.read_record()
    except RecordError as error:
        print(f"passed over: {error}", file=sys.stderr)
        return None


def read_records(
    runs_dir: Path, read: Callable[[dict[str, Any]], Item], only: Container[str] | None = None
) -> Records[Item]:
    """Read every record of a ``runs_dir``, or those of the runs with a hash in ``only``; nothing broken ends it.

    Args:
        read: makes of a record what is kept of it: thousands of whole ones fill the memory.
    """
    found: Records[Item] = Records()
    for folder in run_folders(runs_dir):
        if only is not None and folder.path.name not in only:
            continue
        try:
            record = folder.read_record()
            if record is not None:
                found.runs.append(read(record))
                _check_events(folder, found)
            elif folder.failure.exists():
                failure = folder.read_failure()
                if failure.status != "pruned":
                    found.failures[folder.path.name] = failure.message
        except RecordError as error:
            found.problems.append(str(error))
    return found


def _check_events(folder: RunFolder, found: Records[Item]) -> None:
    """Note that a log was cut; the record beside it is the result, and counts."""
    from bench.record.events import event_of

    try:
        with folder.events_file.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_LINE_BYTES))
            last = file.read().splitlines()[-1:]
            whole = bool(last) and event_of(last[0])["event"] == "finished"
    except (OSError, ValueError):
        whole = False
    if not whole:
        found.problems.append(f"{folder.events_file}: does not end with the run's end; the record beside it counts")


def read_sweeps(runs_dir: Path) -> Iterator[Sweep]:
    """The sweeps that a ``runs_dir`` remembers, in the order of their last start; a file that cannot be read is passed
    over."""
    for path in sorted((runs_dir / SWEEPS).glob("*.json"), key=lambda path: (_written(path), path)):
        try:
            yield parse_as(Sweep, json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue


def _written(path: Path) -> float:
    """When a file was written, in seconds; 0 for one that has gone meanwhile."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
