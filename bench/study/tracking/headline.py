"""A sweep's best and mean figures: what its parent in MLflow shows while its points are folded under it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from bench.record.metrics import METRICS
from bench.study.report.result import Run, numbers_of


def headline(points: Sequence[Run]) -> dict[str, float]:
    """Metrics of a sweep: ``<metric>_best`` and ``<metric>_mean`` over its points.

    A point that has diverged has no quality, and one whose agents shared cores (or the oracle) no throughput that
    says anything.
    """
    found: dict[str, float] = {}
    qualities = {point.quality.of("test"): point.quality.better for point in points}
    wanted: list[tuple[str, str, bool]] = [(name, better, False) for name, better in qualities.items()]
    wanted += [(metric.name, metric.better, metric.timed) for metric in METRICS if metric.headline]
    for name, better, timed in wanted:
        if known := numbers_of([point for point in points if point.timed or not timed], name):
            best = min(known) if better == "down" else max(known)
            found |= {f"{name}_best": best, f"{name}_mean": fmean(known)}
    return found
