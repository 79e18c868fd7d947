"""What a run leaves in its own folder, and the machine that it ran on.

The ranks import this module: it needs the standard library alone.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from bench.task.data import Dataset

SCHEMA = 1
"""Version of the record's layout."""


WithoutResult = Literal["failed", "killed", "pruned"]
"""How a run ends that leaves no record: by its own fault, by force, or because a study had no hope for it."""


class RecordError(ValueError):
    """A file in a run's folder cannot be read: the message names the file."""


class WriteError(OSError):
    """A file cannot be written: the message names it, and says why."""

    def __str__(self) -> str:
        return f"{self.filename} cannot be written: {self.strerror}"


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
    def timeline(self) -> Path:
        """The path of the Chrome trace."""
        return self.path / "timeline.json"

    @property
    def picture(self) -> Path:
        """The path of the trace's picture."""
        return self.path / "timeline.png"

    @property
    def model(self) -> Path:
        """The path of the weights that the run ended with."""
        return self.path / "model.pt"

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
        from bench.study.schema import event_of  # who only writes need not know

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
        from bench.study.schema import check_record  # who only writes need not know

        try:
            record = read_json(self.record.read_bytes())
            schema = record.get("schema") if isinstance(record, dict) else None
            if schema != SCHEMA:
                raise ValueError(f"schema={schema!r}; this version reads schema={SCHEMA}")
            check_record(record)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RecordError(f"{self.record}: {error}") from None
        if record["config_hash"] != self.path.name:
            raise RecordError(f"{self.record}: config_hash={record['config_hash']!r} is not its folder's name")
        return dict(record)

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

    def clear(self) -> None:
        """Make the folder, and remove what an earlier attempt left in it.

        Its result first, so that none stands beside events of another.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        for file in (self.record, self.failure, self.events_file, self.timeline, self.picture, self.model):
            for left in (file, *self.path.glob(f"{file.name}.*.tmp")):
                left.unlink(missing_ok=True)

    def set_aside(self) -> Path:
        """Give a record that cannot be read another name, under which nothing looks for it; return that."""
        aside = self.record.with_name(self.record.name + ".corrupt")
        os.replace(self.record, aside)
        return aside


def read_json(text: bytes) -> Any:
    """Parse JSON that someone else wrote.

    Raises:
        ValueError: it is not JSON, or too deep.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def write_json_atomic(path: Path, value: object) -> None:
    """Write a value as JSON, whole or not at all as :func:`write_atomic` does."""
    write_atomic(path, (json.dumps(finite(value), allow_nan=False) + "\n").encode())


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that it is, after a crash too, the old one or the whole new one; whoever else writes it.

    Raises:
        WriteError: there is no room for it, or no right to write it.
    """
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(error.errno, error.strerror, str(path)) from None


def finite(value: object) -> object:
    """The value with null for every NaN and infinity, which JSON lacks and a diverged run is full of."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Write nested keys as dotted ones: ``{"model": {"depth": 8}}`` becomes ``{"model.depth": 8}``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def describe_data(name: str, dataset: Dataset) -> dict[str, Any]:
    """Describe, for the record, the images that a run has trained on."""
    return {
        "name": name,
        "digest": dataset.digest,
        "train_images": len(dataset.train_labels),
        "test_images": len(dataset.test_labels),
        "image_shape": list(dataset.image_shape),
        "classes": dataset.classes,
    }


def environment(oversubscribed: bool, gpu: str | None = None) -> dict[str, Any]:
    """Describe, for the record, the code and the machine; null where something is not known.

    Args:
        oversubscribed: there are more agents than cores (or GPUs).
        gpu: name of the GPU that the run used.
    """
    commit, dirty = git_state()
    versions = {name: _version(name) for name in ("torch", "torchvision", "mlflow")}
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        "python": platform.python_version(),
        **versions,
        "host": platform.node(),
        "cpu": _cpu(),
        "cores": _cores(),
        "gpu": gpu,
        "oversubscribed": oversubscribed,
    }


def git_state() -> tuple[str | None, bool | None]:
    """Commit of this code, and whether tracked files differ from it; None, None outside a clone."""
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        answer = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None, None
    lines = answer.stdout.splitlines()
    commit = next((line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")), None)
    if commit is None or commit == "(initial)":
        return None, None
    return commit, any(not line.startswith("#") for line in lines)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str | None:
    """What Linux calls the processor, with its family and model: virtual machines give several the same name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    numbers = [f"{word} {facts[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in facts]
    name = facts.get("model name") or platform.processor() or platform.machine()
    return " ".join([name, *numbers]) or None


def _cores() -> int:
    """The number of cores that this process may use: what a container or a scheduler leaves of the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
