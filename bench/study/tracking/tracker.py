"""What a tracker does, whoever keeps the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bench.config import RunConfig
from bench.record.folder import RunFolder, WithoutResult
from bench.record.runs_dir import Sweep


class TrackingError(RuntimeError):
    """MLflow did not take what was sent. The run's folder is complete all the same.

    ``outage`` counts how often it has gone away so far: of one outage, people want to hear once.
    """

    def __init__(self, message: str, outage: int) -> None:
        super().__init__(message)
        self.outage = outage


class Tracker(Protocol):
    """Follows the runs of a sweep, several at once if need be."""

    def prepare(self) -> None:
        """Import what takes seconds to import; nothing is opened."""

    def begin(self, sweep: Sweep) -> None:
        """Open MLflow. Raises ConfigError if there is none, or the experiment was deleted."""

    def start(self, config: RunConfig) -> None:
        """A point's run begins. Raises TrackingError, as all that follow."""

    def deliver(self, folder: RunFolder) -> bool:
        """Mirror a point's record and files, and end its run; False where MLflow has all of it. Raises RecordError."""

    def fail(self, config: RunConfig, message: str, status: WithoutResult) -> None:
        """A point's run ends without a record."""

    def end(self, summary: str, failed: int, files: Sequence[Path] = ()) -> None:
        """The sweep or study has ended: its table, how many points failed, and what else it leaves."""

    def interrupt(self) -> None:
        """The user ends the sweep."""
