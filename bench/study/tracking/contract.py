"""What every tracking is: who is told of the runs, before and after they train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bench.choice import Choice
from bench.config import RunConfig
from bench.record.folder import RunFolder, WithoutResult
from bench.record.runs_dir import Sweep


class TrackingError(RuntimeError):
    """Whoever keeps the runs did not take what was sent. The run's folder is complete all the same.

    ``outage`` counts how often it has gone away so far: of one outage, people want to hear once.
    """

    def __init__(self, message: str, outage: int) -> None:
        super().__init__(message)
        self.outage = outage


class Tracker:
    """Follows the runs of a sweep, several at once if need be; this one tells nobody.

    All but ``prepare`` and ``begin`` may raise :class:`TrackingError`.
    """

    def prepare(self) -> None:
        """Import what takes seconds to import; nothing is opened."""

    def begin(self, sweep: Sweep) -> None:
        """Open what keeps the runs.

        Raises:
            ConfigError: there is none, or it is not to be used.
        """

    def start(self, config: RunConfig, folder: RunFolder) -> None:
        """Note that a point's run begins; what comes of it is told in ``folder``, event by event."""

    def deliver(self, folder: RunFolder) -> bool:  # noqa: ARG002
        """Mirror what a point's run has left, its record or why it has none, and end it; return False where all of it
        is there already.

        Raises:
            RecordError: there is nothing to mirror, or it cannot be read.
        """
        return False

    def fail(self, config: RunConfig, message: str, status: WithoutResult) -> None:
        """Note that a point's run ends without a record."""

    def end(self, summary: str, failed: int, files: Sequence[Path] = ()) -> None:
        """Note that the sweep or study has ended: its table, how many points failed, and what else it leaves."""

    def interrupt(self) -> None:
        """Note that the user ends the sweep."""


class Tracking(Choice):
    """Who is told of the runs. It decides nothing of a result, and is no part of a run's hash."""

    group: ClassVar[str] = "tracking"
    keeps: ClassVar[bool] = True
    """Whether anybody keeps what is told, so that ``python -m bench sync`` can deliver what was missed."""

    def tracker(self) -> Tracker:
        """Make what follows a sweep's runs; nothing is opened before its ``begin``."""
        raise NotImplementedError

    def where(self, command: str) -> str | None:  # noqa: ARG002
        """Say where people compare the runs; None if there is no such place.

        Args:
            command: what opens MLflow's pages, with the keys of this tracking.
        """
        return None
