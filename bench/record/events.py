"""What a line of ``events.jsonl`` has to be, which is checked where one is read."""

from __future__ import annotations

from typing import Any

from bench.keys import Cardinal, Count, NonNegative, Text
from bench.record.schema import OLDEST_TASK, Config, EpochModel, Resumption, TaskModel
from bench.record.valid import Checked
from bench.system.file import read_json


class Event(Checked):
    """A line of ``events.jsonl``."""

    event: Text
    time: float


class Begun(Event):
    config: Config
    """All keys of the run."""
    process: Text
    """The name of the process that the run was started by."""


class Started(Event):
    steps: Count
    epochs: Count
    units_per_step: Count | None = None
    """Units that all replicas' batches of an update have; older events do not say it."""
    task: TaskModel = OLDEST_TASK


class ProgressModel(Event):
    epoch: Cardinal
    step: Count


class EpochEvent(Event, EpochModel):
    pass


class Restarted(Event):
    number: Count
    """How often the run has begun again by itself."""
    step: Cardinal
    """Updates that its newest checkpoint stands behind."""
    message: str
    """Why: the failure that ended it."""


class ResumedEvent(Event, Resumption):
    pass


class CheckpointEvent(Event):
    step: Count
    seconds: NonNegative
    bytes: Count


class CheckpointProblem(Event):
    step: Count
    message: Text


EVENTS: dict[object, type[Event]] = {
    "begun": Begun,
    "restarted": Restarted,
    "started": Started,
    "progress": ProgressModel,
    "epoch": EpochEvent,
    "resumed": ResumedEvent,
    "checkpoint": CheckpointEvent,
    "no_checkpoint": CheckpointProblem,
    "set_aside": CheckpointProblem,
}


def event_of(line: bytes) -> dict[str, Any]:
    """Parse a line of ``events.jsonl``.

    Raises:
        ValueError: a line of ``events.jsonl`` is not JSON, or not an event.
    """
    event = read_json(line)
    kind = event.get("event") if isinstance(event, dict) else None
    model = EVENTS.get(kind, Event) if isinstance(kind, str) else Event
    model.check(event)
    return dict(event)
