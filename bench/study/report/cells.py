"""What the report's tables have in common: their first columns, and how numbers are rounded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bench.plan.interval import Interval
from bench.plan.median import Median
from bench.record.metrics import Metric
from bench.study.report.result import TITLES, Run, numbers_of, setting

DIGITS = 6
"""Significant digits of what a clock has measured; qualities keep all of theirs."""
NOTHING = float("nan")


def axes(run: Run) -> dict[str, Any]:
    return {TITLES.get(key, key): run.keys[key] for key in ("stages", "replicas", "staleness", "method")}


def varied(run: Run, keys: Sequence[str]) -> dict[str, str]:
    return {key: setting(run, key) for key in keys}


def numbers(group: Sequence[Run], metric: Metric, heading: str) -> list[float]:
    """A metric of those runs of a group that have it, in the unit of a heading."""
    return [metric.shown(number, heading) for number in numbers_of(group, metric.name)]


def columns(name: str, interval: Interval | Median | None, digits: int | None = None) -> dict[str, float]:
    """A mean or a median, and the ends of its interval, by column."""
    numbers = interval[:3] if interval else (NOTHING,) * 3
    rounded = [number if digits is None else significant(number, digits) for number in numbers]
    return dict(zip((name, f"{name}_low", f"{name}_high"), rounded, strict=True))


def significant(number: float, digits: int = DIGITS) -> float:
    return float(f"{number:.{digits}g}")


def short(cell: object) -> str:
    if isinstance(cell, float):
        return "-" if math.isnan(cell) else f"{cell:.4g}"
    return str(cell)


def shown_names(runs: Sequence[Run]) -> str:
    return " ".join(run.name for run in runs)
