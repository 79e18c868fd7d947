"""Show a learning rate before it is trained with: its shape, whether a theorem covers it, and its margin.

Examples::

    python -m bench rates lr=polynomial lr.p=0.75            a schedule's shape and margin, without training
    python -m bench rates -m lr=constant,cosine stages=2,4   those of several, one after the other
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.config import RunConfig
from bench.study.launcher.assessment import Assessment, assess
from bench.study.launcher.check import check, make_folder
from bench.study.report.align import align
from bench.study.sweep.compose import points
from bench.study.sweep.library import RUN

WIDTH, HEIGHT = 60, 8
BLOCKS = " ▁▂▃▄▅▆▇█"
MULTIRUN = True


def main(arguments: argparse.Namespace) -> int:
    """Print what is known of one run, or of a sweep's.

    Raises:
        ConfigError: a configuration is wrong, or not as ``lr.require_convergent`` asks for.
    """
    for point in points(arguments.overrides, arguments.multirun, RUN.beside(arguments.config_dir)):
        prepared, runs_dir = check(point.config), point.settings.runs_dir
        make_folder("runs_dir", runs_dir)
        if point.overrides:
            print(" ".join(point.overrides))
        print(describe(point.config, assess(point.config, prepared, runs_dir)))
    return 0


def describe(config: RunConfig, found: Assessment) -> str:
    """The schedule as a picture, what is known of its run in three lines, and the limits of the stages."""
    steps, per_epoch, curvature = found.updates, found.updates_per_epoch, found.smoothness
    rates = [config.lr.rate(step, steps, per_epoch) for step in range(steps)]
    limits = [
        [str(stage), str(limit.delay), f"{limit.rate:.4g}", _number(limit.stable, 4), _number(limit.margin, 3)]
        for stage, limit in enumerate(found.verdict.limits)
    ]
    lines = [
        f"lr={config.lr.name}",
        "",
        *plot(rates),
        f"{steps} updates, {per_epoch} an epoch; rates from {rates[0]:.4g} over {max(rates):.4g} to {rates[-1]:.4g}",
        "",
        *found.verdict.lines(),
        "",
        f"L, the largest curvature of the loss at the initial weights: {curvature.mean:.4g} ({curvature.low:.4g} to "
        f"{curvature.high:.4g}, 95% interval of {curvature.n} batches). On a quadratic of curvature L the optimizer's "
        "update with gradients so old is stable up to a rate, over which the margin is above 1; '-' where that is not "
        "known. Training changes the curvature.",
        "",
        *align([["stage", "staleness", "largest rate", "stable up to", "margin"], *limits]),
        "",
    ]
    return "\n".join(lines)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}g}"


def plot(values: Sequence[float], width: int = WIDTH, height: int = HEIGHT) -> list[str]:
    """Draw values from left to right as columns from 0 to the largest; return the lines."""
    width = min(width, len(values))
    columns = [values[number * len(values) // width] for number in range(width)]
    eighths = [round(8 * height * value / max(values)) for value in columns]
    rows = range(height - 1, -1, -1)
    return [("".join(BLOCKS[max(0, min(8, level - 8 * row))] for level in eighths)).rstrip() for row in rows]
