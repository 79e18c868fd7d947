"""Measure what the engine does on a GPU, against a loop that leaves the GPU nothing to wait for.

Results go to ``results/gpu/throughput.csv``; where there is no GPU, it says so.

Examples::

    python -m bench gpu                                      five rounds of each contender
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import RunConfig
from bench.plan.interval import ratio
from bench.record.environment import environment
from bench.record.folder import RunFolder
from bench.record.metrics import speed_in
from bench.study.launcher.agents import launch
from bench.study.launcher.check import check_rounds
from bench.study.launcher.progress import Progress
from bench.study.sweep.compose import compose
from bench.study.sweep.library import RUN
from bench.study.verbs import add_rounds
from bench.system.call import Call, temporary, warm_up
from bench.task.judgement import Judgement

if TYPE_CHECKING:
    from bench.engine.measure.minimal import Minimal

FOLDER = Path("results/gpu")
WORKLOAD = (
    "device=cuda",
    "data=synthetic",
    "data.train_size=25600",
    "data.test_size=128",
    "batch_size=128",
    "epochs=2",
)
CONTENDERS = {
    "K=1": ("stages=1",),
    "oracle, K=2, staleness 2": ("stages=2", "engine=reference"),
    "minimal loop": ("stages=1",),
    "minimal loop, compiled": ("stages=1",),
}


def options(parser: argparse.ArgumentParser) -> None:
    add_rounds(parser)


def main(arguments: argparse.Namespace) -> int:
    """Measure, and write ``results/gpu/throughput.csv``; without a GPU say so, and write nothing.

    Raises:
        ConfigError: an argument is wrong.
    """
    check_rounds(arguments.rounds)
    warm_up()
    device: str | None = Call(gpu_name).result()
    if device is None:
        print("there is no GPU here: nothing was measured")
        return 0
    primary = RUN.beside(arguments.config_dir)
    configs = {name: compose([*WORKLOAD, *own, *arguments.overrides], primary) for name, own in CONTENDERS.items()}
    speeds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    order, task = random.Random(0), configs["K=1"].data.task
    with tempfile.TemporaryDirectory(dir=temporary()) as place:
        for number in range(arguments.rounds):
            for name in order.sample(list(configs), len(configs)):
                speeds[name].append(_measure(name, configs[name], Path(place)))
                print(
                    f"round {number + 1}/{arguments.rounds} {name}: {speeds[name][-1]:.0f} {task.short}/s",
                    file=sys.stderr,
                )
    _report(speeds, device, Judgement.of(task))
    return 0


def gpu_name() -> str | None:
    """The name of the GPU that a run would use; None if there is none."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def _measure(name: str, config: RunConfig, place: Path) -> float:
    """Measure one contender; return its units per second."""
    from bench.engine.measure.minimal import minimal_loop

    if name.startswith("minimal loop"):
        found: Minimal = Call(minimal_loop, config, name.endswith("compiled")).result()
        return found.units_per_second
    folder = RunFolder(place / config.hash())
    folder.clear()
    with Progress(folder, name):
        # Watched or not, the oracle is kept out of this process.
        launch(config, None, folder, {}, lambda: None)
    record = folder.read_record()
    assert record is not None
    return speed_in(record)


def _report(speeds: dict[str, list[float]], device: str, counted: Judgement) -> None:
    import pandas

    ones = [1.0] * len(speeds["K=1"])
    rows = [{"figure": f"{name}: {counted.units}/s", **ratio(own, ones)._asdict()} for name, own in speeds.items()]
    for name in ("minimal loop", "minimal loop, compiled"):
        rows.append({"figure": f"K=1 / {name}", **ratio(speeds["K=1"], speeds[name])._asdict()})
    table = pandas.DataFrame(rows).assign(gpu=device, torch=environment(False)["torch"])
    FOLDER.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(FOLDER / "throughput.csv", index=False)
    print(table.round(3).to_string(index=False))
    print(f"\n{device}: {FOLDER}/throughput.csv")
