"""A run that is under way: what it says, what of that MLflow has, and when MLflow may be told the rest."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.config import RunConfig
from bench.record.folder import RunFolder
from bench.study.tracking.budget import Budget
from bench.study.tracking.epoch_curves import EpochCurves, Point, point_of, points_of
from bench.system.process import machine

SHARE = 0.003
"""The largest share of a run's time that this process may take to tell MLflow of it meanwhile. Half a percent is what
it may take to follow the run in all, and to show the progress takes a third of that."""
LEAST_SECONDS = 3.0
"""Seconds from one word to MLflow of a run to the next at least."""
LOAD_SECONDS = 10.0
"""Seconds from one look at what the machine does to the next, as MLflow has it itself."""
AWAY_SECONDS = 60.0
"""Seconds until MLflow is tried again, where it is away."""


class LiveRun:
    """A run of this process's that MLflow has as RUNNING.

    Args:
        sent: the points that MLflow has of it.
        expected: seconds that it will take to tell MLflow.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder, run_id: str, sent: Iterable[Point], expected: float
    ) -> None:
        self.config, self.folder, self.run_id = config, folder, run_id
        self.budget = Budget(SHARE, LEAST_SECONDS, AWAY_SECONDS, expected)
        self.sent = set(sent)
        self._curves = EpochCurves(folder)
        self._news: list[Any] = []
        self._shown = False
        """Whether MLflow has the run's timeline."""
        self._looked = time.monotonic()

    def look(self) -> None:
        """Read what the run has said since the last time."""
        if self._curves.read():
            self._news = [metric for metric in self._curves.metrics if point_of(metric) not in self.sent]

    def is_due(self) -> bool:
        """Whether there is something to tell, and MLflow may be told now."""
        return (bool(self._news) or self.timeline is not None or self._wants_load()) and self.budget.is_due()

    @property
    def timeline(self) -> Path | None:
        """The file of the run's timeline, where there is one that MLflow does not have."""
        return None if self._shown or not self.folder.timeline.exists() else self.folder.timeline

    def note_timeline(self) -> None:
        """Note that MLflow has the timeline."""
        self._shown = True

    @property
    def is_void(self) -> bool:
        """Whether MLflow has what is not true any more: the run has gone on from a checkpoint before that."""
        return not self.sent <= points_of(self._curves.metrics)

    def begin_anew(self, run_id: str) -> None:
        """Tell all of it to another run of MLflow's, which has nothing yet."""
        self.run_id, self.sent, self._news, self._shown = run_id, set(), self._curves.metrics, False

    def news(self, load: Mapping[str, float]) -> list[Any]:
        """MLflow's entities for what it is to be told now.

        Args:
            load: what this machine does, which is told of a run that trains on it.
        """
        from mlflow.entities import Metric

        now, self._looked = int(time.time() * 1000), time.monotonic()
        loads = load.items() if self._is_here() else ()
        return [*self._news, *(Metric(name, value, now, self._curves.step) for name, value in loads)]

    def note(self) -> None:
        """Note that MLflow has all that it was told."""
        self.sent |= points_of(self._news)
        self._news = []

    def _wants_load(self) -> bool:
        return self._is_here() and time.monotonic() - self._looked >= LOAD_SECONDS

    def _is_here(self) -> bool:
        return self._curves.process.partition("@")[2] == machine()
