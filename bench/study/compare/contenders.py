"""What the benchmark compares: ways to train the same network, each measured by one run, and predicted beside it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import RunConfig
from bench.record.folder import RunFolder
from bench.record.metrics import SPEED
from bench.record.runs_dir import Sweep
from bench.rule.method.gpipe import GPipe
from bench.rule.method.interleaved_1f1b import Interleaved
from bench.rule.method.one_f_one_b import OneForwardOneBackward
from bench.rule.method.zero_bubble import ZeroBubble
from bench.study.compare.oracles import oracles
from bench.study.launcher.agents import launch
from bench.study.launcher.check import check
from bench.study.launcher.progress import Progress
from bench.study.predict.links import neighbour_links
from bench.study.predict.workload import MICROBATCHES, Workload, way_of
from bench.study.tracking.mlflow import MLflow
from bench.system.call import Call, barrier, results

if TYPE_CHECKING:
    from bench.engine.measure.minimal import Minimal

WORKLOAD = ("data=synthetic", "data.train_size=10240", "data.test_size=64", "epochs=1")
"""160 updates of 64 samples of 32 x 32: to fill and drain two stages at staleness 2 costs about 1% of such an epoch.
The first update of a looped pipeline costs as much as some, and half as many as here would make it 5% slower."""
EPOCHS = WORKLOAD[-1:]
"""What is left of that where a benchmark is asked for other data."""
PLAIN = "plain "
"""Prefix of the names of pipelines whose stages and messages are torch's."""
PIPELINES = [kind.name for kind in (GPipe, OneForwardOneBackward, Interleaved, ZeroBubble)]
"""Pipelines with a flush that are compared."""
ORACLES = {"oracle": 1, "two oracles": 2}
"""Contenders that are so many runs of the oracle at once: one and as many as two cores hold."""
CONTENDERS = {
    "one core": ("+contender=one_core", "max_steps=80"),
    "locked": ("+contender=locked", "max_steps=40"),
    "FDG": ("+contender=fdg",),
    "FDG again": ("+contender=fdg",),
    "FDG, K=4": ("+contender=fdg", "stages=4", "max_steps=80"),
    "four replicas": ("+contender=one_core", "replicas=4", "max_steps=20"),
    "DDP": ("+contender=ddp", "max_steps=40"),
    **{
        f"{how}{method}, {count} microbatches": (f"+contender={method}", f"microbatches={count}", "max_steps=40")
        for how in ("", PLAIN)
        for method in PIPELINES
        for count in MICROBATCHES
    },
    "both stages alone": ("+contender=fdg", "max_steps=40"),
    "minimal loop": ("+contender=one_core", "max_steps=40"),
    "minimal loop, compiled": ("+contender=one_core", "max_steps=40"),
    "one core, contiguous": ("+contender=one_core", "channels_last=false", "max_steps=20"),
    "whole command": ("+contender=fdg", "max_steps=8"),
    **dict.fromkeys(ORACLES, ("+contender=fdg", "engine=reference", "max_steps=80")),
}
PREDICTED = ("one core", "locked", "FDG", "DDP", *(name for name in CONTENDERS if name.partition(",")[0] in PIPELINES))
"""Contenders that are predicted: those that have a core for each agent, once each."""


def workload(overrides: Sequence[str]) -> Sequence[str]:
    """What all contenders learn from: random ones, unless other data is asked for."""
    return EPOCHS if any(word.startswith("data=") for word in overrides) else WORKLOAD


@dataclass(frozen=True)
class Measurement:
    """What one contender measured in one round."""

    round: int
    contender: str
    units_per_second: float
    efficiency: float | None = None
    locking: float | None = None
    overhead_seconds: float | None = None
    """Wall time of the run beyond its training clock: start of processes, partition, evaluation, record."""
    following: float | None = None
    """Processor time that this process takes, beside the training, to follow it (it shows the progress, and tells
    MLflow), over the training time."""
    processor: float | None = None
    """Processor time of all agents, seconds a unit."""
    checkpoint_seconds: float | None = None
    """Seconds that a checkpoint takes."""


@dataclass(frozen=True)
class Prediction:
    """What one contender should measure in one round."""

    round: int
    contender: str
    units_per_second: float
    efficiency: float


def predict_contenders(number: int, configs: Mapping[str, RunConfig]) -> list[Prediction]:
    """Walk the clock of every contender with what its parts cost now, as ``python -m bench predict`` does."""
    common = Workload(configs["FDG"], check(configs["FDG"]), neighbour_links())
    predictions = []
    for name in PREDICTED:
        config = configs[name]
        # With its own number of updates, and what was measured for the others.
        times = replace(common, config=config).predict(way_of(config))
        predictions.append(Prediction(number, name, times.units_per_second(config.units), times.efficiency))
    return predictions


def measure_contender(number: int, name: str, config: RunConfig, overrides: Sequence[str], place: Path) -> Measurement:
    """Measure one contender by one run."""
    from bench.engine.measure.minimal import minimal_loop

    check(config)
    if name.startswith("minimal loop"):
        found: Minimal = Call(minimal_loop, config, name.endswith("compiled")).result()
        return Measurement(number, name, found.units_per_second)
    if name.startswith(PLAIN):
        return Measurement(number, name, plain(config, place))
    if name in ORACLES:
        return Measurement(number, name, oracles(config, ORACLES[name], place))
    if name == "both stages alone":
        return Measurement(number, name, ceiling(config))
    folder = RunFolder(place / "runs" / config.hash())
    started, busy = time.perf_counter(), 0.0
    if name == "whole command":
        whole_command(overrides, place)
        wall = time.perf_counter() - started
    else:
        with mirrored(config, folder, place), Progress(folder, f"round {number + 1} {name}"):
            started, busy = time.perf_counter(), time.process_time()
            launch(config, None, folder, {})
            wall, busy = time.perf_counter() - started, time.process_time() - busy
    record = folder.read_record()
    assert record is not None
    metrics, units = record["metrics"], record["epochs"][-1]["step"] * config.units
    return Measurement(
        number,
        name,
        metrics[SPEED],
        metrics["throughput/efficiency"],
        metrics["locking/total_fraction"],
        wall - metrics["time/train_seconds"],
        busy / metrics["time/train_seconds"],
        sum(agent["processor_seconds"] for agent in record["agents"]) / units,
    )


@contextmanager
def mirrored(config: RunConfig, folder: RunFolder, place: Path) -> Iterator[None]:
    """Begin a run in an empty folder, and have MLflow told of it meanwhile, as a user's command does."""
    folder.clear()
    folder.begin(config.resolved())
    tracker = MLflow(f"sqlite:///{place}/mlflow.db", "benchmark").tracker()
    tracker.begin(Sweep((), (config.hash(),)))
    tracker.start(config, folder)
    yield
    tracker.deliver(folder)


def whole_command(overrides: Sequence[str], place: Path) -> None:
    """Run what a user types, from the shell to MLflow's last artifact."""
    command = [sys.executable, "-m", "bench", *overrides, "force=true"]
    subprocess.run(command, cwd=place, check=True, capture_output=True)


def plain(config: RunConfig, place: Path) -> float:
    """Train a pipeline that is all torch's; return its units per second."""
    from bench.engine.measure.ceiling import cuts_of

    cuts = Call(cuts_of, config).result()
    with tempfile.TemporaryDirectory(dir=place) as temporary:
        store = Path(temporary, "store")
        speeds: list[float] = results([Call(plain_stage, config, cuts, rank, store) for rank in range(config.stages)])
    return min(speeds)


def plain_stage(config: RunConfig, cuts: Sequence[int], rank: int, store: Path) -> float:
    """Train as one stage of such a pipeline, in a process of its own; return its units per second."""
    from bench.engine.measure.plain import plain_pipeline

    return plain_pipeline(config, cuts, rank, store).units_per_second


def ceiling(config: RunConfig) -> float:
    """Measure the slowest stage's units per second where all compute at once, each on its core, without a message."""
    from bench.engine.measure.ceiling import cuts_of, stage_alone

    cuts, together = Call(cuts_of, config).result(), barrier(config.stages)
    speeds: list[float] = results([Call(stage_alone, config, cuts, stage, together) for stage in range(config.stages)])
    return min(speeds)
