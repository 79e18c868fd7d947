"""Show a learning rate before it is trained with: its shape, its verdict, and how large it may be.

Examples::

    python -m bench rates lr=polynomial lr.p=0.75            a schedule's verdict, caps and shape, without training
    python -m bench rates -m lr=constant,cosine stages=2,4   those of several, one after the other
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.config import RunConfig
from bench.plan.clock import Clock
from bench.rule.correction.none import NoCorrection
from bench.study.launcher.assessment import Assessment, assess
from bench.study.launcher.check import check, make_folder
from bench.study.report.align import align
from bench.study.sweep.compose import points
from bench.study.sweep.library import RUN

WIDTH, HEIGHT = 60, 8
BLOCKS = " ▁▂▃▄▅▆▇█"
MULTIRUN = True


def main(arguments: argparse.Namespace) -> int:
    """Print the verdicts of one run, or of a sweep's.

    Raises:
        ConfigError: a configuration is wrong, or outside the conditions that it asks for itself.
    """
    for point in points(arguments.overrides, arguments.multirun, RUN.beside(arguments.config_dir)):
        prepared, runs_dir = check(point.config), point.settings.runs_dir
        make_folder("runs_dir", runs_dir)
        if point.overrides:
            print(" ".join(point.overrides))
        print(describe(point.config, assess(point.config, prepared, runs_dir)))
    return 0


def describe(config: RunConfig, found: Assessment) -> str:
    """The schedule as a picture, its conditions one by one, and the caps of the stages."""
    steps, per_epoch = found.updates, found.updates_per_epoch
    rates = [config.lr.rate(step, steps, per_epoch) for step in range(steps)]
    conditions = [[c.name, "yes" if c.holds else "no", c.why] for c in found.verdict.conditions]
    delays = [Clock(config.stages, config.staleness, 0).lag(stage) for stage in range(config.stages)]
    limits = [
        [
            str(stage),
            str(delay),
            f"{limit.rate:.4g}",
            f"{limit.cap:.4g}",
            "yes" if limit.rate <= limit.cap else "no",
            *_margin(config, limit.rate, delay, found.smoothness.mean),
        ]
        for stage, (delay, limit) in enumerate(zip(delays, found.limits, strict=True))
    ]
    curvature = found.smoothness
    lines = [
        f"lr={config.lr.name}: {found.verdict.word}",
        "",
        *plot(rates),
        f"{steps} updates, {per_epoch} an epoch; rates from {rates[0]:.4g} over {max(rates):.4g} to {rates[-1]:.4g}",
        "",
        *align([["condition", "holds", "why"], *conditions]),
        "",
        f"L, the largest curvature of the loss at the initial weights: {curvature.mean:.4g} ({curvature.low:.4g} to "
        f"{curvature.high:.4g}, 95% interval of {curvature.n} batches). The caps are for its upper end, and for SGD "
        "without momentum. On a quadratic of curvature L the optimizer's step with gradients so old is stable up to "
        "another rate, over which the margin is above 1; '-' where that is not known: for other optimizers than SGD, "
        "with corrections, and with weights that are not stashed.",
        "",
        *align([["stage", "staleness", "largest rate", "cap", "within", "stable up to", "margin"], *limits]),
        "",
    ]
    return "\n".join(lines)


def _margin(config: RunConfig, rate: float, delay: int, curvature: float) -> list[str]:
    """The largest stable rate of a stage on a quadratic, and the stage's largest rate over it, as text."""
    plain = config.weights == "stashed" and config.correction == NoCorrection()
    step = config.optimizer.largest_step(delay) if plain or not delay else None
    return ["-", "-"] if step is None else [f"{step / curvature:.4g}", f"{rate * curvature / step:.3g}"]


def plot(values: Sequence[float], width: int = WIDTH, height: int = HEIGHT) -> list[str]:
    """Draw values from left to right as columns from 0 to the largest; return the lines."""
    width = min(width, len(values))
    columns = [values[number * len(values) // width] for number in range(width)]
    eighths = [round(8 * height * value / max(values)) for value in columns]
    rows = range(height - 1, -1, -1)
    return [("".join(BLOCKS[max(0, min(8, level - 8 * row))] for level in eighths)).rstrip() for row in rows]
