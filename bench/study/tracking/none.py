"""``tracking=none``: nobody is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.study.tracking.contract import Tracker, Tracking


@dataclass(frozen=True)
class NoTracking(Tracking):
    """No mirror: a run's own folder holds everything."""

    name: ClassVar[str] = "none"
    keeps: ClassVar[bool] = False

    def tracker(self) -> Tracker:
        return Tracker()
