"""The picture of a prediction: speed-up over one agent, for numbers of stages and replicas."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from bench.keys import ConfigError
from bench.rule.method.decoupled import Decoupled
from bench.study.predict.workload import Way, Workload, way_of
from bench.study.report.figure import new_figure

LEAST = 16
"""The number of replicas that the picture goes up to, where no more are asked for."""


@dataclass(frozen=True)
class Speedups:
    """Speed-ups ``values[row][column]`` of ``replicas[row]`` and ``stages[column]``; NaN where they are too many."""

    stages: list[int]
    replicas: list[int]
    values: list[list[float]]


def speedups(workload: Workload) -> Speedups:
    """Predict the speed-ups of the configured method and staleness over one stage of one replica."""
    config = workload.config
    layers = len(workload.parameter_bytes())
    stages = _steps(min(layers, max(8, config.stages)), config.stages)
    replicas = _steps(max(LEAST, config.replicas), config.replicas)
    asked = way_of(config)
    single = _speed(workload, _on(asked, 1, 1))
    values = [[_speed(workload, _on(asked, count, copies)) / single for count in stages] for copies in replicas]
    return Speedups(stages, replicas, values)


def draw(found: Speedups, path: Path, asked: Way) -> None:
    """Draw the speed-ups as a heat map."""
    figure = new_figure(1.1 * len(found.stages) + 3, 0.7 * len(found.replicas) + 2, dpi=100, layout="constrained")
    from matplotlib.colors import LogNorm

    axis = figure.subplots()
    known = [value for row in found.values for value in row if not math.isnan(value)]
    axis.imshow(found.values, origin="lower", aspect="auto", cmap="cividis", norm=LogNorm(min(known), max(known)))
    for row, line in enumerate(found.values):
        for column, value in enumerate(line):
            text = "-" if math.isnan(value) else f"{value:.3g}"
            dark = not math.isnan(value) and value**2 < min(known) * max(known)
            here = (found.stages[column], found.replicas[row]) == (asked.stages, asked.replicas)
            weight = "bold" if here else "normal"
            axis.text(column, row, text, ha="center", va="center", color="white" if dark else "black", weight=weight)
    axis.set_xticks(range(len(found.stages)), [str(count) for count in found.stages])
    axis.set_yticks(range(len(found.replicas)), [str(count) for count in found.replicas])
    axis.set_xlabel("stages K")
    axis.set_ylabel("replicas S")
    words = asked.method.name + (f", staleness {asked.staleness}" if asked.method.stale else "")
    axis.set_title(f"predicted speed-up over K=S=1: {words} (bold: asked for; -: too few samples)", fontsize=9)
    figure.savefig(path)


def _steps(most: int, asked: int) -> list[int]:
    """Powers of two up to the most, and what was asked for."""
    return sorted({2**power for power in range(most.bit_length())} | {asked})


def _on(asked: Way, stages: int, replicas: int) -> Way:
    """The way that was asked for, on another grid; a single stage has no pipeline."""
    if stages == 1 and not asked.method.whole:
        return Way(Decoupled(), 1, replicas, asked.batch_size)
    return replace(asked, stages=stages, replicas=replicas)


def _speed(workload: Workload, way: Way) -> float:
    """Predict units per second; NaN where there are not enough samples or layers."""
    try:
        return workload.predict(way).units_per_second(workload.units(way))
    except (ConfigError, ValueError):
        return math.nan
