"""What the runs of a sweep or a study are started on: its size, what a launch takes there, and how often it fails."""

from __future__ import annotations

import argparse
import math
import os
import sys
from dataclasses import dataclass

from bench.keys import ConfigError
from bench.plan.forecast.cluster import Cluster
from bench.plan.forecast.failures import expected_seconds

OPTIONS = ("nodes", "cores", "launch", "checkpoint", "every", "failures")
LAUNCH_SECONDS = 1.0
"""Seconds of a launch where none are given: what a point of a sweep was measured to take beyond its training and
evaluation, forked from a server that has torch. A cluster's job takes more: it imports that first."""
EVERY_MINUTES = 10.0
"""Minutes of training between checkpoints, where these are written and nothing else is said."""


@dataclass(frozen=True)
class Surroundings:
    """What runs are started on."""

    cluster: Cluster
    launch: float
    """Seconds of a run beyond its training and evaluation, and of a restart."""
    interval: float
    """Seconds of training from one checkpoint to the next; infinite where there are none."""
    checkpoint: float
    """Seconds that a checkpoint takes."""
    failures: float
    """Mean seconds from one failure of a node to the next; infinite where there are none."""

    def between(self, slots: int) -> float:
        """Mean seconds from one failure of a run to the next: that of whichever of its nodes fails."""
        return self.failures / self.cluster.nodes_of(slots)

    def seconds(self, training: float, slots: int) -> float:
        """The mean of the seconds of a run that takes so many slots and trains and evaluates for so long."""
        between = self.between(slots)
        launched = expected_seconds(self.launch, math.inf, 0.0, 0.0, between)
        return launched + expected_seconds(training, self.interval, self.checkpoint, self.launch, between)


def add_surroundings(parser: argparse.ArgumentParser) -> None:
    """Add the options that describe them."""
    group = parser.add_argument_group("where a sweep or a study runs")
    group.add_argument("--nodes", type=int, metavar="N", help="nodes of the cluster (1)")
    group.add_argument("--cores", type=int, metavar="N", help="cores of a node, or its GPUs (this machine's cores)")
    group.add_argument("--launch", type=float, metavar="S", help=f"seconds of a launch ({LAUNCH_SECONDS:g})")
    group.add_argument("--checkpoint", type=float, metavar="S", help="seconds that a checkpoint takes (there are none)")
    every = f"minutes of training between checkpoints ({EVERY_MINUTES:g})"
    group.add_argument("--every", type=float, metavar="MIN", help=every)
    group.add_argument("--failures", type=float, metavar="H", help="hours between two failures of a node (it has none)")


def describes_surroundings(arguments: argparse.Namespace) -> bool:
    """Whether one of the options was given."""
    return any(getattr(arguments, name) is not None for name in OPTIONS)


def surroundings(arguments: argparse.Namespace) -> Surroundings:
    """What the options describe.

    Raises:
        ConfigError: a number makes no sense.
    """
    for name in OPTIONS[:2]:
        if (count := getattr(arguments, name)) is not None and count < 1:
            raise ConfigError(f"--{name}={count}: must be at least 1")
    for name in OPTIONS[2:]:
        value, may_be_nothing = getattr(arguments, name), name in ("launch", "checkpoint")
        least = 0.0 if may_be_nothing else sys.float_info.min
        if value is not None and not least <= value < math.inf:
            allowed = "at least 0" if may_be_nothing else "above 0"
            raise ConfigError(f"--{name}={value}: must be a finite number, {allowed}")
    if arguments.every is not None and arguments.checkpoint is None:
        raise ConfigError(f"--every={arguments.every}: must be given with --checkpoint, the seconds that one takes")
    return Surroundings(
        Cluster(arguments.nodes or 1, arguments.cores or len(os.sched_getaffinity(0))),
        LAUNCH_SECONDS if arguments.launch is None else arguments.launch,
        math.inf if arguments.checkpoint is None else 60 * (arguments.every or EVERY_MINUTES),
        arguments.checkpoint or 0.0,
        math.inf if arguments.failures is None else 3600 * arguments.failures,
    )
