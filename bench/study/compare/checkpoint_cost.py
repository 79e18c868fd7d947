"""What a checkpoint costs: that of the benchmark's network, and that of one with 25 million parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from bench.config import RunConfig
from bench.record.checkpoints import Checkpointing
from bench.record.folder import RunFolder
from bench.record.metrics import SPEED
from bench.study.compare.contenders import WORKLOAD, Measurement, workload
from bench.study.launcher.agents import launch
from bench.study.launcher.check import check

LARGE = ("model=vit", "model.dim=512", "model.depth=8", "model.heads=8", "batch_size=4", "max_steps=4", "flush_every=1")
"""8 blocks of 12 * 512 * 512 parameters: 25 million."""
CHECKPOINTED = ("FDG", "25 million parameters")
"""What is measured: the checkpoints of the benchmark's own network, and those of a large one."""


def checkpointed(overrides: Sequence[str]) -> dict[str, list[str]]:
    """The words of the run of each, which leave a checkpoint every few updates.

    Args:
        overrides: what the benchmark is asked for, which is not the large network's.
    """
    own = [*workload(overrides), "+contender=fdg", *overrides, "max_steps=20", "flush_every=5"]
    words = dict(zip(CHECKPOINTED, (own, [*WORKLOAD, "+contender=fdg", *LARGE]), strict=True))
    return {turn(name): found for name, found in words.items()}


def turn(name: str) -> str:
    """The name under which it takes its turn among the contenders."""
    return f"checkpoints of {name}"


def measure_checkpoints(number: int, name: str, config: RunConfig, place: Path) -> Measurement:
    """Measure the seconds that the ranks take from a flush point until a checkpoint of it is on the disk."""
    check(config)
    folder = RunFolder(place / "runs" / config.hash())
    folder.clear()
    launch(config, None, folder, {}, checkpoint=Checkpointing(1, None))
    record = folder.read_record()
    assert record is not None
    seconds = [event["seconds"] for event in folder.events() if event["event"] == "checkpoint"]
    return Measurement(number, name, record["metrics"][SPEED], checkpoint_seconds=fmean(seconds))
