"""A point that is to run now, and how it may end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from bench.config import RunConfig
from bench.engine.rank import RunFailed
from bench.record.folder import RecordError
from bench.study.launcher.agents import Pruned
from bench.study.launcher.attempt import Busy, folder_of, label
from bench.study.launcher.convergence import Standing
from bench.study.tracking.tracker import Tracker, TrackingError


@dataclass(frozen=True)
class Task:
    """A point that is to run now."""

    config: RunConfig
    prepared: Path | None
    """The prepared data's file."""
    standing: Standing
    position: int
    total: int
    """The number of points that ``position`` counts among."""
    kind: Literal["run", "trial", "repeat"] = "run"
    """What people call a task of this kind."""

    @property
    def title(self) -> str:
        """The task's short name for people."""
        return f"{self.kind} {self.position}/{self.total} {label(self.config)}"


Ending = tuple[Task, RunFailed | Pruned | Busy | None]
"""A task and what kept it from its result."""


class Jobs(Protocol):
    """Runs tasks in whatever order and number at once; only this process tells the tracker."""

    def run(self, tasks: Sequence[Task], tracker: Tracker) -> Iterator[Ending]: ...


def start(tracker: Tracker, config: RunConfig) -> None:
    """Tell MLflow that a run starts; if MLflow is away by now, the run goes on, and is delivered later."""
    with suppress(TrackingError):
        tracker.start(config)


def stop(tracker: Tracker, config: RunConfig) -> None:
    """Tell MLflow how a run was interrupted: a run that had its record by then is delivered, any other was killed."""
    folder = folder_of(config)
    with suppress(TrackingError, RecordError):
        if folder.record.exists():
            tracker.deliver(folder)
        else:
            tracker.fail(config, "interrupted", "killed")
