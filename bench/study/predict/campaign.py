"""How long a sweep or a study takes as a whole on a given cluster, with launches, checkpoints and failures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from bench.config import RunConfig
from bench.keys import ConfigError
from bench.plan.forecast.cluster import Work, makespan
from bench.plan.forecast.failures import best_interval
from bench.study.launcher.check import check_all
from bench.study.predict.estimate import START_SECONDS, duration, training_seconds
from bench.study.predict.surroundings import Surroundings
from bench.system.call import Call, warm_up


def campaign(phases: Sequence[Sequence[RunConfig]], around: Surroundings) -> list[str]:
    """Measure what the layers of the runs' networks take on this machine, and say how long all of it takes.

    Args:
        phases: the runs; those of a phase begin when all of the one before it are over.

    Raises:
        ConfigError: a run is wrong, or the cluster is too small for it.
    """
    configs = {config.hash(): config for config in chain(*phases)}
    if not configs:
        return ["all points have their records: nothing is to run"]
    warm_up()
    prepared = Call(check_all, [*configs.values()]).result()
    found: list[float] = Call(training_seconds, [*configs.values()], prepared, None).result()
    seconds = dict(zip(configs, found, strict=True))
    return how_long([[(config, seconds[config.hash()]) for config in phase] for phase in phases], around)


def how_long(phases: Sequence[Sequence[tuple[RunConfig, float]]], around: Surroundings) -> list[str]:
    """Lines that say how long all of it takes.

    Args:
        phases: the runs, with the seconds that each trains and evaluates for.

    Raises:
        ConfigError: the cluster is too small for a run.
    """
    # An agent takes a core, or a GPU.
    runs = [(seconds, config.processes) for phase in phases for config, seconds in phase]
    alone = sum(seconds for seconds, _ in runs)
    whole = sum(
        _span([(config, around.seconds(seconds, config.processes)) for config, seconds in phase], around)
        for phase in phases
    )
    cluster, widest = around.cluster, max(slots for _, slots in runs)
    lines = [
        f"{len(runs)} runs of up to {widest} agents on {cluster.nodes} nodes of {cluster.slots} cores or GPUs",
        f"training: {duration(alone)} one after the other, as the layers take now on this machine",
        f"launches: {around.launch:g} s a run",
        _checkpoints(around, widest),
        _failures(runs, around),
    ]
    if math.isinf(whole):
        return [*lines, "in all: it would not end: failures come before the work is done"]
    busy = sum(around.seconds(seconds, slots) * slots for seconds, slots in runs) / whole
    return [
        *lines,
        f"in all: about {duration(START_SECONDS + whole)}, with {busy / (cluster.nodes * cluster.slots):.0%} in use",
    ]


def _span(phase: Sequence[tuple[RunConfig, float]], around: Surroundings) -> float:
    works = [Work(seconds, config.processes) for config, seconds in phase]
    if any(math.isinf(work.seconds) for work in works):
        return math.inf
    try:
        return makespan(works, around.cluster)
    except ValueError:
        cluster, (config, _) = around.cluster, max(phase, key=lambda each: each[0].processes)
        raise ConfigError(
            f"--nodes={cluster.nodes}: stages={config.stages} replicas={config.replicas} need {config.processes} cores "
            f"or GPUs, and there are {cluster.nodes} times {cluster.slots}; allowed are "
            f"{cluster.nodes_of(config.processes)} nodes or more"
        ) from None


def _checkpoints(around: Surroundings, widest: int) -> str:
    if math.isinf(around.interval):
        return "checkpoints: none"
    told = f"checkpoints: one every {around.interval / 60:g} minutes of training, {around.checkpoint:g} s each"
    if math.isinf(around.failures) or not around.checkpoint:
        return told
    best = best_interval(around.checkpoint, around.between(widest))
    return f"{told}; every {best / 60:.2g} minutes would cost least of the widest run"


def _failures(runs: Sequence[tuple[float, int]], around: Surroundings) -> str:
    if math.isinf(around.failures):
        return "failures: none"
    some, none = (
        sum(surroundings.seconds(*run) for run in runs) for surroundings in (around, replace(around, failures=math.inf))
    )
    more = "without an end" if math.isinf(some) else f"{some / none - 1:.1%} more time of the runs"
    return f"failures: one every {around.failures / 3600:g} hours of a node; {more}"
