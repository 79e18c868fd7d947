"""How a run stands, as its folder says: what it is of, whether it goes on, how far it is, or how it has ended.

Of its events, the beginning and the end are read alone: those of a long run have many lines between.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from bench.record.events import event_of
from bench.record.folder import Failure, RecordError, RunFolder
from bench.record.metrics import SPEED, speed_of
from bench.system.leftovers import is_locked
from bench.task.judgement import OLDEST, Judgement, judgement_of

HEAD_BYTES, TAIL_BYTES = 1 << 16, 1 << 13
"""Bytes that are read of the events: of what a run is and how long, and of how far it has come."""
BY_FORCE = "killed by force: it has left no word of how it ended"
LENGTH = ("steps", "epochs", "units_per_step")
SPEEDS = ("units_per_second", SPEED, f"{OLDEST.units}_per_second", speed_of(OLDEST.units))
PLACE = {"step": "step", "epoch": "epoch", **dict.fromkeys(SPEEDS, "units_per_second")}
"""Keys of events that tell how long a run is; and those, older versions' too, that tell how far it is, by their names
in its state."""

Standing = Literal["done", "diverged", "running", "failed", "killed", "pruned"]


@dataclass(frozen=True)
class RunState:
    """Where a run stands."""

    standing: Standing
    keys: dict[str, Any] | None = None
    """Its configuration, as plain values; None where its events do not say."""
    message: str = ""
    """Why it has no record, where it has ended without one."""
    steps: int | None = None
    """Updates of the whole run; None before its agents have found out, as with all that follows."""
    epochs: int | None = None
    step: int | None = None
    """Updates that it has made."""
    epoch: int | None = None
    """The epoch that it is in, from 0 on."""
    units_per_second: float | None = None
    units_per_step: int | None = None
    """Units that all replicas' batches of an update have."""
    judgement: Judgement = OLDEST
    """What it counts, and is judged by."""
    last: float | None = None
    """When it said something last, in seconds of Unix time."""

    @property
    def seconds_left(self) -> float | None:
        """Seconds that it will go on for at the speed of now, without the evaluations; None where that is not known."""
        if not (self.keys and self.steps and self.step is not None and self.units_per_second):
            return None
        units = self.units_per_step or int(self.keys["batch_size"] * self.keys["replicas"])
        return (self.steps - self.step) * units / self.units_per_second


def state_of(folder: RunFolder) -> RunState | None:
    """Where a run stands; None where nothing has begun in the folder.

    Raises:
        RecordError: the word of why it failed cannot be read.
    """
    head, tail = _ends(folder)
    if folder.record.exists():
        return RunState(_result(tail), _keys(head))
    if _is_held(folder):
        return _running(head, tail)
    if folder.record.exists():  # it has ended since
        return RunState(_result(tail), _keys(head))
    if not (folder.failure.exists() or head):
        return None
    failure = failure_of(folder)
    return RunState(failure.status, _keys(head), failure.message)


def configuration_of(folder: RunFolder) -> dict[str, Any] | None:
    """The configuration of the run that has begun in a folder, as plain values; None where its events do not say."""
    return _keys(_ends(folder)[0])


def failure_of(folder: RunFolder) -> Failure:
    """Why a run has no record, that no process is at.

    Raises:
        RecordError: the word of it cannot be read.
    """
    if folder.failure.exists():
        return folder.read_failure()
    times = [event["time"] for event in _ends(folder)[1]]
    if not times:
        raise RecordError(f"{folder.path}: nothing has begun there")
    return Failure("killed", BY_FORCE, times[-1])


def _running(head: Iterable[dict[str, Any]], tail: Iterable[dict[str, Any]]) -> RunState:
    found: dict[str, Any] = {"keys": _keys(head)}
    for event in head:
        if event["event"] == "started":
            found |= {key: event[key] for key in LENGTH if key in event} | {"judgement": judgement_of(event)}
    for event in tail:
        found["last"] = event["time"]
        found |= {name: event[key] for key, name in PLACE.items() if key in event}
    return RunState("running", **found)


def _result(tail: list[dict[str, Any]]) -> Standing:
    """How a run with a record has ended, by its last event."""
    return "diverged" if tail and tail[-1].get("status") == "diverged" else "done"


def _keys(head: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    return next((event["config"] for event in head if event["event"] == "begun"), None)


def _is_held(folder: RunFolder) -> bool:
    with suppress(OSError):
        return is_locked(folder.lock)
    return False


def _ends(folder: RunFolder) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The first events and the last ones; both are all of them where they are few."""
    try:
        with folder.events_file.open("rb") as file:
            head = file.read(HEAD_BYTES)
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            tail = file.read()
    except OSError:
        return [], []
    return [*_events(head)], [*_events(tail)]


def _events(text: bytes) -> Iterator[dict[str, Any]]:
    """The whole events of a piece of a log."""
    for line in text.splitlines():
        with suppress(ValueError):
            yield event_of(line)
