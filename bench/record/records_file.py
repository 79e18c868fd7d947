"""A sweep as one file: ``records.jsonl``, a line a run, which git keeps and tables are computed from."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench.record.folder import RecordError, parse_record
from bench.record.runs_dir import Item, Records
from bench.system.file import finite, write_atomic

MACHINE = ("host", "cpu", "cores", "gpu")
"""What of a record's environment tells machines apart."""


@dataclass(frozen=True)
class RecordsFile:
    """A file of records. A run stands in it once for each machine that has made it: speeds are a machine's own."""

    path: Path

    def records(self, mention: str = "") -> Iterator[dict[str, Any] | RecordError]:
        """Each line's record, or why it cannot be read; nothing where there is no file.

        Args:
            mention: lines without this text are left out unread.
        """
        for number, line in enumerate(self._lines(), start=1):
            try:
                if mention.encode() in line:
                    yield parse_record(line)
            except ValueError as error:
                yield RecordError(f"{self.path}, line {number}: {error}")

    def find(self, name: str) -> dict[str, Any] | None:
        """The record of the run with that hash, of whatever machine the first; None where there is none."""
        known = (record for record in self.records(name) if not isinstance(record, RecordError))
        return next((record for record in known if record["config_hash"] == name), None)

    def keep(self, record: Mapping[str, Any]) -> None:
        """Add a record, in the place of the same run's of the same machine; whoever else adds one.

        Raises:
            WriteError: there is no room for it, or no right to write it.
        """
        line = json.dumps(finite(record), allow_nan=False, separators=(",", ":")).encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock"), fallback_to_soft=False):
            others = [other for other in self._lines() if _place(other) != _place(line)]
            write_atomic(self.path, b"".join(other + b"\n" for other in [*others, line]))

    def read(self, read: Callable[[dict[str, Any]], Item], only: Container[str] | None = None) -> Records[Item]:
        """Read every record, or those of the runs with a hash in ``only``; nothing broken ends it.

        Args:
            read: makes of a record what is kept of it.
        """
        found: Records[Item] = Records()
        for record in self.records():
            if isinstance(record, RecordError):
                found.problems.append(str(record))
            elif only is None or record["config_hash"] in only:
                found.runs.append(read(record))
        return found

    def _lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines() if self.path.exists() else []


def _place(line: bytes) -> object:
    """The run and the machine that a line is of; the line itself where it is no record."""
    try:
        record = json.loads(line)
        environment = record["environment"]
        return record["config_hash"], [environment.get(key) for key in MACHINE]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return line
