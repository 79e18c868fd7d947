"""A point that is to run now."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.config import RunConfig, grid_label
from bench.record.checkpoints import NEVER, Checkpointing
from bench.record.folder import RecordError, RunFolder
from bench.study.launcher.assessment import Assessment
from bench.study.tracking.contract import Tracker, TrackingError
from bench.system.heartbeat import TALKING
from bench.system.pin import Pin


@dataclass(frozen=True)
class Task:
    """A point that is to run now."""

    config: RunConfig
    prepared: Path | None
    """The prepared data's file."""
    assessment: Assessment
    folder: RunFolder
    """Where the run is kept."""
    again: bool
    """Whether it is made although it has a record."""
    position: int
    total: int
    """The number of points that ``position`` counts among."""
    kind: Literal["run", "trial", "repeat"] = "run"
    """What people call a task of this kind."""
    pin: Pin | None = None
    """What its processes keep to; None: what this one may use."""
    restarts: int = 0
    """How often it may begin again from a checkpoint, where a rank fails."""
    colocated: bool = False
    """Whether other runs of this sweep or study train on this machine meanwhile."""
    checkpoint: Checkpointing = NEVER
    """When it leaves a checkpoint."""
    anew: bool = False
    """Whether it begins anew although an earlier attempt has left a checkpoint."""

    @property
    def title(self) -> str:
        """The task's short name for people."""
        return f"{self.kind} {self.position}/{self.total} {label(self.config)}"


def label(config: RunConfig) -> str:
    """A run's short name for people."""
    return f"{grid_label(config.canonical())} {config.hash()}"


def start(tracker: Tracker, task: Task) -> None:
    """Tell the tracker that a run starts; if it is away by now, the run goes on, and is delivered later."""
    with suppress(TrackingError), TALKING:
        tracker.start(task.config, task.folder)


def stop(tracker: Tracker, task: Task, message: str = "") -> None:
    """Tell the tracker how a run was interrupted: one that had its record by then is delivered, any other was
    killed.

    Args:
        message: what is said of it, if there is more to say than that.
    """
    with suppress(TrackingError, RecordError), TALKING:
        if task.folder.record.exists():
            tracker.deliver(task.folder)
        else:
            tracker.fail(task.config, message or "interrupted", "killed")
