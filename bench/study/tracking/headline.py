"""A sweep's best and mean figures: what its parent in MLflow shows while its points are folded under it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from bench.study.report.baseline import SPEED
from bench.study.report.result import Run

ACCURACY = "accuracy/test"


def headline(points: Sequence[Run]) -> dict[str, float]:
    """Metrics of a sweep: ``<metric>_best`` and ``<metric>_mean`` over its points, of two that have points to tell.

    A point that has diverged has no test accuracy, and one whose agents shared cores (or the oracle) no throughput that
    says anything.
    """
    figures = {
        ACCURACY: [point.number(ACCURACY) for point in points],
        SPEED: [point.number(SPEED) for point in points if point.timed],
    }
    found: dict[str, float] = {}
    for metric, numbers in figures.items():
        if known := [number for number in numbers if number is not None]:
            found |= {f"{metric}_best": max(known), f"{metric}_mean": fmean(known)}
    return found
