"""The tracker that a configuration names."""

from __future__ import annotations

from bench.config import MLflow, Tracking
from bench.study.tracking.mlflow import MLflowTracker
from bench.study.tracking.none import NoTracker
from bench.study.tracking.tracker import Tracker


def tracker(tracking: Tracking) -> Tracker:
    """The tracker that the configuration asks for; nothing is opened before its ``begin``."""
    return MLflowTracker(tracking) if isinstance(tracking, MLflow) else NoTracker()
