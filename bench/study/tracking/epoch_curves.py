"""The curves of a run as its events tell them: while it is under way, and where it has ended without a record."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeAlias

from bench.record.folder import RunFolder
from bench.record.tail import Tail
from bench.study.tracking import mirror

Point: TypeAlias = "tuple[str, float | None, int, int]"
"""One number of one metric: its name, its value (None for NaN, which equals nothing), its time and its step."""


def points_of(metrics: Iterable[Any]) -> set[Point]:
    """What tells MLflow's entities for metrics apart; MLflow itself keeps each but once."""
    return {point_of(metric) for metric in metrics}


def point_of(metric: Any) -> Point:
    value = None if math.isnan(metric.value) else metric.value
    return metric.key, value, metric.timestamp, metric.step


class EpochCurves:
    """The metrics of the epochs that a run's events tell of, each once.

    A run that goes on from a checkpoint tells again what came behind that, and then the later word counts.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._tail = Tail(folder)
        self._epochs: dict[int, list[Any]] = {}
        self._restarts: list[Any] = []
        self.step = 0
        """Updates that the run has made."""
        self.process = ""
        """The name of the process that is at the run."""

    @property
    def metrics(self) -> list[Any]:
        """MLflow's entities for the metrics: how often the run has begun again, and then epoch by epoch."""
        return [*self._restarts, *(metric for epoch in self._epochs.values() for metric in epoch)]

    def read(self) -> bool:
        """Read the events since the last time; return whether the curves have changed."""
        changed = False
        for event in self._tail.read():
            changed = changed or event["event"] in ("resumed", "restarted", "epoch")
            match event["event"]:
                case "begun":
                    self.process = event["process"]
                case "restarted":
                    self._restarts.append(mirror.restart_metric(event))
                case "resumed":
                    self.step = event["step"]
                    self._epochs = {
                        number: epoch for number, epoch in self._epochs.items() if epoch[0].step <= self.step
                    }
                case "progress":
                    self.step = event["step"]
                case "epoch":
                    self.step = event["step"]
                    self._epochs[event["epoch"]] = mirror.epoch_metrics(event, mirror.event_time(event))
        return changed
