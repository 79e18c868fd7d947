"""What a run leaves in its own folder, and the machine that it ran on.

The ranks import this module: it needs the standard library alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bench.system.file import _writing, finite, read_json, write_json_atomic
from bench.system.process import own_name

if TYPE_CHECKING:
    from bench.record.checkpoints import Checkpoints

SCHEMA = 1
"""Version of the record's layout."""
WithoutResult = Literal["failed", "killed", "pruned"]
"""How a run ends that leaves no record: by its own fault, by force, or because a study had no hope for it."""


class RecordError(ValueError):
    """A file in a run's folder cannot be read: the message names the file."""


class Failure(NamedTuple):
    """Why a run has no record."""

    status: WithoutResult
    message: str
    time: float
    """Unix time, in seconds, at which the run ended."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run. ``events.jsonl`` grows as it happens; ``record.json`` comes last, with the result."""

    path: Path

    @property
    def record(self) -> Path:
        return self.path / "record.json"

    @property
    def events_file(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def failure(self) -> Path:
        return self.path / "failure.json"

    @property
    def lock(self) -> Path:
        """The path of the file whose lock the process holds that is at the run."""
        return self.path / "lock"

    @property
    def timeline(self) -> Path:
        """The path of the Chrome trace."""
        return self.path / "timeline.json"

    @property
    def picture(self) -> Path:
        """The path of the trace's picture."""
        return self.path / "timeline.png"

    @property
    def checkpoints(self) -> Checkpoints:
        """What the run goes on from if it is ended before it has its record."""
        from bench.record.checkpoints import Checkpoints

        return Checkpoints(self.path / "checkpoint")

    @property
    def model(self) -> Path:
        """The path of the weights that the run ended with."""
        return self.path / "model.pt"

    def begin(self, config: Mapping[str, Any]) -> None:
        """Add the event that says what runs here, and that this process is at it from now on.

        Args:
            config: all keys of the run, as plain values.

        Raises:
            WriteError: there is no room, or the folder has gone.
        """
        self.append({"event": "begun", "config": config, "process": own_name()})

    def append(self, event: Mapping[str, Any]) -> None:
        """Add one event to ``events.jsonl``, with the Unix time where the event brings none.

        Raises:
            WriteError: there is no room, or the folder has gone.
        """
        line = json.dumps(finite({"event": event["event"], "time": time.time(), **event}), allow_nan=False)
        with _writing(self.events_file), self.events_file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def events(self) -> Iterator[dict[str, Any]]:
        """The events so far, oldest first; none if the run has not begun. A last line cut short is left out.

        Raises:
            RecordError: a line before the last one is not JSON, or not an event.
        """
        from bench.record.events import event_of

        if not self.events_file.exists():
            return
        with self.events_file.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield event_of(line)
                except ValueError as error:
                    raise RecordError(f"{self.events_file}, line {number}: {error}") from None

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write the run's result. Numbers that are not finite become null."""
        write_json_atomic(self.record, record)

    def read_record(self) -> dict[str, Any] | None:
        """The run's result, checked as a whole; None if it has none.

        Raises:
            RecordError: the file is not JSON, its schema is not the one known here, it is not a record, or it is that
                of another run.
        """
        try:
            record = parse_record(self.record.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RecordError(f"{self.record}: {error}") from None
        if record["config_hash"] != self.path.name:
            raise RecordError(f"{self.record}: config_hash={record['config_hash']!r} is not its folder's name")
        return record

    def write_failure(self, message: str, status: WithoutResult) -> None:
        """Write why the run ended without a result."""
        write_json_atomic(self.failure, {"status": status, "message": message, "time": time.time()})

    def read_failure(self) -> Failure:
        """Read why the run ended without a result.

        Raises:
            RecordError: the file is not there, or not as it should be.
        """
        try:
            content = json.loads(self.failure.read_text(encoding="utf-8"))
            return Failure(content["status"], str(content["message"]), float(content["time"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{self.failure}: {type(error).__name__} {error}") from None

    def clear(self, go_on: bool = False) -> None:
        """Make the folder, and remove what an earlier attempt left in it.

        Its result first, so that none stands beside events of another.

        Args:
            go_on: whether its checkpoints and its events stay, where it has left the ones and no result.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        stays = go_on and not self.record.exists() and bool(self.checkpoints.published())
        left = [self.record, self.failure, self.timeline, self.picture, self.model]
        for file in left if stays else [*left, self.events_file]:
            for each in (file, *self.path.glob(f"{file.name}.*.tmp")):
                each.unlink(missing_ok=True)
        if stays:
            self._cut_events()
        else:
            self.checkpoints.clear()

    def _cut_events(self) -> None:
        """Remove the end of a last event that was cut short, which the next one would stand behind in its line."""
        with self.events_file.open("ab+") as file:
            file.seek(0)
            whole = file.read().rpartition(b"\n")
            file.truncate(len(whole[0]) + len(whole[1]))

    def set_aside(self) -> Path:
        """Give a record that cannot be read another name, under which nothing looks for it; return that."""
        aside = self.record.with_name(self.record.name + ".corrupt")
        os.replace(self.record, aside)
        return aside


def parse_record(text: bytes) -> dict[str, Any]:
    """Parse a record, and check it as a whole.

    Raises:
        ValueError: it is not JSON, its schema is not the one known here, or it is no record.
    """
    from bench.record.schema import check_record

    record = read_json(text)
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"schema={schema!r}; this version reads schema={SCHEMA}")
    check_record(record)
    return dict(record)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Write nested keys as dotted ones: ``{"model": {"depth": 8}}`` becomes ``{"model.depth": 8}``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
