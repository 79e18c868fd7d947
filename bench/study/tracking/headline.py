"""A sweep's best and mean figures: what its parent in MLflow shows while its points are folded under it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from bench.record.metrics import METRICS
from bench.study.report.result import Run, numbers_of


def headline(points: Sequence[Run]) -> dict[str, float]:
    """Metrics of a sweep: ``<metric>_best`` and ``<metric>_mean`` over its points.

    A point that has diverged has no test accuracy, and one whose agents shared cores (or the oracle) no throughput that
    says anything.
    """
    found: dict[str, float] = {}
    for metric in (metric for metric in METRICS if metric.headline):
        if known := numbers_of([point for point in points if point.timed or not metric.timed], metric.name):
            best = min(known) if metric.better == "down" else max(known)
            found |= {f"{metric.name}_best": best, f"{metric.name}_mean": fmean(known)}
    return found
