"""All that a ``runs_dir`` holds: the runs' folders, and which sweeps asked for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.study.record import RecordError, RunFolder, write_json_atomic

SWEEPS = "sweeps"
"""Folder, beside those of the runs, with a file for each sweep."""


@dataclass(frozen=True)
class Sweep:
    """What one command asked for."""

    overrides: tuple[str, ...]
    """As they were typed."""
    points: tuple[str, ...]
    """Hashes of its different points."""

    @property
    def name(self) -> str:
        """The same points, in whatever order, are the same sweep."""
        return hashlib.sha256(" ".join(sorted(self.points)).encode()).hexdigest()[:12]

    def write(self, runs_dir: Path) -> None:
        """Remember it in ``<runs_dir>/sweeps/<name>.json``."""
        content = {"overrides": list(self.overrides), "points": list(self.points)}
        write_json_atomic(runs_dir / SWEEPS / f"{self.name}.json", content)


@dataclass
class Shelf:
    """What was read from a ``runs_dir``."""

    records: list[dict[str, Any]] = field(default_factory=list)
    """By hash."""
    failures: dict[str, str] = field(default_factory=dict)
    """The message of each run that has one and no record, by hash."""
    problems: list[str] = field(default_factory=list)
    """What could not be read, and was set aside: a message each, which names the file."""


def run_folders(runs_dir: Path) -> list[RunFolder]:
    """The folders of the runs, by hash."""
    if not runs_dir.is_dir():
        return []
    return [RunFolder(path) for path in sorted(runs_dir.iterdir()) if path.is_dir() and path.name != SWEEPS]


def read_shelf(runs_dir: Path, only: Sequence[str] | None = None) -> Shelf:
    """Every record of a ``runs_dir``, or those of the runs with a hash in ``only``; nothing broken ends it."""
    shelf = Shelf()
    for folder in run_folders(runs_dir):
        if only is not None and folder.path.name not in only:
            continue
        try:
            record = folder.read_record()
            if record is not None:
                shelf.records.append(record)
            elif folder.failure.exists():
                shelf.failures[folder.path.name] = str(json.loads(folder.failure.read_text())["message"])
        except RecordError as error:
            shelf.problems.append(str(error))
        except (OSError, ValueError, KeyError, TypeError) as error:
            shelf.problems.append(f"{folder.failure}: {error}")
    return shelf


def read_sweeps(runs_dir: Path) -> Iterator[Sweep]:
    """The sweeps that a ``runs_dir`` remembers; a file that cannot be read is passed over."""
    for path in sorted((runs_dir / SWEEPS).glob("*.json")):
        try:
            content = json.loads(path.read_text())
            yield Sweep(tuple(content["overrides"]), tuple(content["points"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
