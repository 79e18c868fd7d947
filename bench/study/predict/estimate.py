"""How long a run will take, from the seconds that its layers take now."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import RunConfig

if TYPE_CHECKING:
    from bench.task.dataset import Dataset

START_SECONDS = 8.0
"""Seconds that a run takes beyond its training and evaluation: to start processes and to write what it leaves."""
FORWARD_SHARE = 1 / 3
"""The forward pass's share of the seconds of forward and backward."""


def estimate(configs: Sequence[RunConfig], prepared: Sequence[Path | None]) -> list[float]:
    """Seconds that each run will take, on its prepared data; every different network is timed once, on this machine.

    The pace of decoupled stages is that of the slowest one; at staleness 0 they work in turns. Microbatches fill and
    drain the stages at every update. Agents that share cores take turns as well, and so do all those of the oracle.
    """

    known: dict[str, list[float]] = {}
    files = zip(configs, prepared, strict=True)
    return [_seconds(config, config.data.load(file), known) for config, file in files]


def _layers(config: RunConfig, dataset: Dataset, known: dict[str, list[float]]) -> list[float]:
    """Seconds of forward and backward of each layer, for a batch."""
    from bench.engine.assembly import layers_of

    key = repr((config.model, config.data, config.batch_size, config.precision, config.channels_last, config.device))
    if key not in known:
        known[key] = [layer.cost for layer in layers_of(config, dataset, "measured")]
    return known[key]


def _seconds(config: RunConfig, dataset: Dataset, known: dict[str, list[float]]) -> float:
    from bench.plan.partition import bounds, cut
    from bench.rule.lr.contract import updates
    from bench.task.batches import Batches

    layers = _layers(config, dataset, known)
    cuts = config.partition if isinstance(config.partition, list) else cut(layers, config.pieces)
    stages = [0.0] * config.stages
    for piece, (first, last) in enumerate(bounds(cuts, len(layers))):
        stages[config.method.holder(config.stages, piece)] += sum(layers[first:last])
    cores = 1 if config.engine == "reference" else min(len(os.sched_getaffinity(0)), config.agents)
    pace = max(stages)
    if config.method.microbatched:
        pace *= 1 + (config.stages - 1) * config.stages / (config.pieces * config.microbatches)
    elif config.staleness == 0:
        pace = sum(stages)
    pace = max(pace, sum(stages) * config.replicas / cores)
    per_epoch = Batches(dataset, seed=0, batch_size=config.batch_size, replicas=config.replicas).batches
    steps = updates(config.epochs, config.max_steps, per_epoch)
    tests = math.ceil(steps / per_epoch) * len(dataset.test_labels) / config.batch_size
    return START_SECONDS + steps * pace + tests * sum(stages) * FORWARD_SHARE / min(cores, config.replicas)
