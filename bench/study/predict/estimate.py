"""How long a run will take, from the seconds that its layers take now."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import RunConfig

if TYPE_CHECKING:
    from bench.engine.profile import Layer
    from bench.task.dataset import Dataset

START_SECONDS = 8.0
"""Seconds of a command before its first run trains: it imports, composes, and looks at data and network."""
RUN_SECONDS = 2.0
"""Seconds that a run of a sweep takes beyond its training and evaluation: to start processes and to write what it
leaves. On two cores 1.4 to 1.7 were measured with MLflow."""
WALKED = 100
"""Updates that are forecast; a longer run takes as long for each."""


def estimate(configs: Sequence[RunConfig], prepared: Sequence[Path | None]) -> list[float]:
    """Seconds that each run of a sweep will take on this machine, from its start to its record."""
    cores = len(os.sched_getaffinity(0))
    return [RUN_SECONDS + seconds for seconds in training_seconds(configs, prepared, cores)]


def training_seconds(configs: Sequence[RunConfig], prepared: Sequence[Path | None], cores: int | None) -> list[float]:
    """Seconds that each run will train and evaluate for, on its prepared data; every different network is timed once,
    on this machine.

    They are forecast with messages that take no time. Agents that share cores take turns, and so do all those of the
    oracle.

    Args:
        cores: how many there are for agents; None: one for each.
    """
    known: dict[str, list[Layer]] = {}
    files = zip(configs, prepared, strict=True)
    return [_seconds(config, config.dataset(file), known, cores) for config, file in files]


def _layers(config: RunConfig, dataset: Dataset, known: dict[str, list[Layer]]) -> list[Layer]:
    """The layers, with the seconds of their forward and backward for a batch."""
    from bench.engine.assembly import layers_of

    key = repr((config.model, config.data, config.batch_size, config.precision, config.channels_last, config.device))
    if key not in known:
        known[key] = layers_of(config, dataset, "measured")
    return known[key]


def _seconds(config: RunConfig, dataset: Dataset, known: dict[str, list[Layer]], most: int | None) -> float:
    from bench.rule.lr.contract import updates
    from bench.task.dataset import batches_per_epoch, check_batch_size

    samples, sizes = dataset.samples, dataset.sizes
    check_batch_size(dataset, config.batch_size, config.replicas)
    layers = _layers(config, dataset, known)
    cores = min(most or config.processes, config.processes)
    per_epoch = batches_per_epoch(samples, config.batch_size, config.replicas)
    steps = updates(config.epochs, config.max_steps, per_epoch)
    work = sum(layer.cost for layer in layers) * config.replicas / cores
    pace = max(_pace(config, layers, min(steps, per_epoch, config.flush_every or per_epoch, WALKED)), work)
    flushes, held_out = math.ceil(steps / per_epoch), sizes["validation"]
    judged = flushes * held_out + sizes["test"] if held_out else flushes * sizes["test"]
    tests = judged / config.model.window / config.batch_size
    forward = sum(layer.forward for layer in layers) / min(cores, config.replicas)
    return steps * pace + tests * forward


def _pace(config: RunConfig, layers: Sequence[Layer], batches: int) -> float:
    """Forecast the seconds of an update, where every agent has a core and so many updates lie between two flushes."""
    from bench.plan.forecast.costs import Setup, StageCost
    from bench.plan.forecast.prediction import predict
    from bench.plan.partition import bounds, cut

    method, costs = config.method, [layer.cost for layer in layers]
    cuts = config.partition if isinstance(config.partition, list) else cut(costs, config.pieces)
    parts = config.microbatches if method.microbatched else 1
    stages = []
    for first, end in bounds(cuts, len(layers)):
        forward = sum(layer.forward for layer in layers[first:end]) / parts
        backward = sum(layer.backward for layer in layers[first:end]) / parts
        weights = backward / 2 if method.splits_backward else 0.0
        stages.append(StageCost(forward, backward - weights, weights=weights))
    setup = Setup(method, stages, config.replicas, config.staleness, parts)
    return predict(setup, [batches]).seconds / batches


def duration(seconds: float) -> str:
    """Seconds as people read them, in hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))
