"""``python -m bench benchmark``: the engine's speed and its peers', as interleaved ratios with intervals.

The speed of a machine drifts by up to a factor of two within minutes, so that two speeds taken one after the other say
little. Here every round measures each contender once, in random order, and only ratios within a round are averaged.
Every contender makes updates of as many images, with as many threads an agent.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.config import RunConfig
from bench.study.check import check, oversubscribed
from bench.study.compose import compose
from bench.study.elsewhere import warm_up
from bench.study.interval import Interval, ratio
from bench.study.launch import launch
from bench.study.progress import Progress
from bench.study.record import RunFolder, environment

WORKLOAD = ("data=synthetic", "data.train_size=5120", "data.test_size=64", "epochs=1")
"""80 updates of 64 images of 32 x 32: to fill and drain two stages at staleness 2 costs about 2% of such an epoch."""
PIPELINES = ("gpipe", "1f1b", "interleaved_1f1b", "zero_bubble")
MICROBATCHES = (2, 4, 8)
CONTENDERS = {
    "one core": ("stages=1", "max_steps=40"),
    "locked": ("stages=2", "staleness=0", "max_steps=40"),
    "FDG": ("stages=2", "staleness=2"),
    "FDG again": ("stages=2", "staleness=2"),
    "FDG, K=4": ("stages=4", "staleness=2", "max_steps=40"),
    "DDP": ("stages=1", "replicas=2", "method=ddp", "batch_size=32", "max_steps=40"),
    **{
        f"{method}, {count} microbatches": ("stages=2", f"method={method}", f"microbatches={count}", "max_steps=20")
        for method in PIPELINES
        for count in MICROBATCHES
    },
    "both stages alone": ("stages=2", "staleness=2", "max_steps=40"),
    "minimal loop": ("stages=1", "max_steps=40"),
    "one core, contiguous": ("stages=1", "channels_last=false", "max_steps=20"),
    "whole command": ("stages=2", "staleness=2", "max_steps=8"),
}
RATIOS = (
    ("FDG", "one core", 1.95),
    ("FDG", "locked", 1.9),
    ("FDG", "DDP", 1.0),
    ("FDG", "both stages alone", None),
    ("FDG again", "FDG", None),
    ("one core", "minimal loop", 0.98),
    ("one core", "one core, contiguous", None),
)
"""Contenders to compare, and the ratio asked for."""
OVER_PIPELINES = 1.35
"""Asked for, of FDG over the fastest of torch's pipelines."""
CUTTING_LIMIT = 1.1
"""Asked for: processor time of four stages over that of one."""
FOLLOWING_LIMIT = 0.005
"""Of the training time, for all that this process does meanwhile."""


@dataclass(frozen=True)
class Measurement:
    """One contender in one round."""

    round: int
    contender: str
    images_per_second: float
    efficiency: float | None = None
    locking: float | None = None
    overhead_seconds: float | None = None
    """Wall time of the run beyond its training clock: start of processes, partition, evaluation, record."""
    following: float | None = None
    """Processor time that this process takes, beside the training, to follow it (progress; MLflow waits for the end),
    over the training time."""
    processor: float | None = None
    """Processor time of all agents, seconds an image."""


def main(arguments: argparse.Namespace) -> int:
    """Measure, print the ratios, write them to ``results/benchmark.csv``, or that of another model or precision.

    Raises:
        ConfigError: an override is wrong.
    """
    contenders = {name: [*WORKLOAD, *overrides, *arguments.overrides] for name, overrides in CONTENDERS.items()}
    configs = {name: compose(overrides) for name, overrides in contenders.items()}
    warm_up()
    measurements = []
    order = random.Random(0)
    with tempfile.TemporaryDirectory() as temporary:
        # Creates MLflow's database, as a user's first run does once.
        whole_command(contenders["whole command"], Path(temporary))
        for number in range(arguments.rounds):
            for name in order.sample(list(configs), len(configs)):
                measurement = measure(number, name, configs[name], contenders[name], Path(temporary))
                measurements.append(measurement)
                print(
                    f"round {number + 1}/{arguments.rounds} {name}: {measurement.images_per_second:.1f} img/s",
                    file=sys.stderr,
                )
    config = configs["FDG"]
    kinds = [config.model.name] * (config.model.name != "resnet") + [config.precision] * (config.precision != "float32")
    report(measurements, environment(oversubscribed(config)), "-".join(["benchmark", *kinds]))
    return 0


def measure(number: int, name: str, config: RunConfig, overrides: Sequence[str], place: Path) -> Measurement:
    """One run of one contender."""
    check(config)
    if name == "minimal loop":
        with multiprocessing.get_context("forkserver").Pool(1) as pool:
            return Measurement(number, name, pool.apply(minimal_loop, (config,)))
    if name == "both stages alone":
        return Measurement(number, name, ceiling(config))
    folder = RunFolder(place / "runs" / config.hash())
    started, busy = time.perf_counter(), time.process_time()
    if name == "whole command":
        whole_command(overrides, place)
    else:
        folder.clear()
        with Progress(folder, f"round {number + 1} {name}"):
            launch(config, None, folder, {})
    wall, busy = time.perf_counter() - started, time.process_time() - busy
    record = folder.read_record()
    assert record is not None
    metrics, images = record["metrics"], record["epochs"][-1]["step"] * config.batch_size * config.replicas
    return Measurement(
        number,
        name,
        metrics["throughput/images_per_second"],
        metrics["throughput/efficiency"],
        metrics["locking/total_fraction"],
        wall - metrics["time/train_seconds"],
        busy / metrics["time/train_seconds"],
        sum(agent["processor_seconds"] for agent in record["agents"]) / images,
    )


def whole_command(overrides: Sequence[str], place: Path) -> None:
    """What a user types, from the shell to MLflow's last artifact."""
    command = [sys.executable, "-m", "bench", *overrides, "force=true"]
    subprocess.run(command, cwd=place, check=True, capture_output=True)


def minimal_loop(config: RunConfig) -> float:
    """Images per second, on one core, of the loop that anybody would write for the same network and data."""
    import torch

    from bench.config import SGD
    from bench.task.data import Batches
    from bench.task.models import build
    from bench.task.sources import load

    torch.set_num_threads(1)
    dataset = load(config.data, None)
    batches = Batches(dataset, seed=config.seed, batch_size=config.batch_size, channels_last=config.channels_last)
    torch.manual_seed(config.seed)
    network = build(config.model, dataset.image_shape, dataset.classes)
    network = network.to(memory_format=torch.channels_last if config.channels_last else torch.contiguous_format)
    assert isinstance(config.optimizer, SGD)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.1, momentum=config.optimizer.momentum, weight_decay=config.optimizer.weight_decay
    )
    started = time.perf_counter()
    steps = config.max_steps or batches.batches
    for index in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            loss = torch.nn.functional.cross_entropy(network(batches.inputs(0, index)), batches.targets(0, index))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return steps * config.batch_size / (time.perf_counter() - started)


def ceiling(config: RunConfig) -> float:
    """Images per second of the slowest stage if all compute at once, each on its core, and none sends or waits."""
    from bench.engine.alone import cuts_of, stage_alone

    context = multiprocessing.get_context("forkserver")
    with context.Manager() as manager, context.Pool(config.stages) as pool:
        cuts, together = pool.apply(cuts_of, (config,)), manager.Barrier(config.stages)
        asked = [pool.apply_async(stage_alone, (config, cuts, stage, together)) for stage in range(config.stages)]
        return min(answer.get() for answer in asked)


def report(measurements: Sequence[Measurement], machine: dict[str, Any], file: str = "benchmark") -> None:
    """Print and write what was measured."""
    import pandas

    def series(name: str, field: str = "images_per_second") -> list[float]:
        return [getattr(m, field) for m in sorted(measurements, key=lambda m: m.round) if m.contender == name]

    rows: list[dict[str, Any]] = []

    def add(figure: str, interval: Interval, asked: float | None) -> None:
        rows.append({"figure": figure, **interval._asdict(), "asked": asked})

    ones = [1.0] * len(series("FDG"))
    pipelines = [known for known in CONTENDERS if known.partition(",")[0] in PIPELINES]
    best = max(pipelines, key=lambda known: ratio(series(known), ones).mean)
    for numerator, denominator, asked in (*RATIOS, ("FDG", best, OVER_PIPELINES)):
        add(f"{numerator} / {denominator}", ratio(series(numerator), series(denominator)), asked)
    cutting = ratio(series("FDG, K=4", "processor"), series("one core", "processor"))
    add("FDG, K=4 / one core: processor time", cutting, CUTTING_LIMIT)
    for name in ("FDG", "locked"):
        add(f"{name}: efficiency", ratio(series(name, "efficiency"), ones), 0.97 if name == "FDG" else None)
        add(f"{name}: locking fraction", ratio(series(name, "locking"), ones), 0.03 if name == "FDG" else None)
    following = ratio(series("FDG", "following"), ones)
    add("FDG: following the run / training time", following, FOLLOWING_LIMIT)
    for name in CONTENDERS:
        add(f"{name}: images/s", ratio(series(name), ones), None)
    for name in ("FDG", "whole command"):
        add(f"{name}: seconds beyond training", ratio(series(name, "overhead_seconds"), ones), None)
    table = pandas.DataFrame(rows).assign(cpu=machine["cpu"], cores=machine["cores"], torch=machine["torch"])
    Path("results").mkdir(exist_ok=True)
    table.round(4).to_csv(f"results/{file}.csv", index=False)
    print(table.drop(columns=["cpu", "cores", "torch"]).round(3).to_string(index=False))
    print(f"\n{machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}: results/{file}.csv")
    assert following.mean <= FOLLOWING_LIMIT, f"to follow a run took {following.mean:.2%} of its training time"
