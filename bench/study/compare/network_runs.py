"""What methods make of the line between two hosts: which run across it, and what a run and its forecast measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.config import RunConfig
from bench.keys import ConfigError
from bench.plan.forecast.traffic import allreduce_bytes, boundary_bytes
from bench.record.metrics import SPEED
from bench.rule.method.ddp import DistributedData
from bench.rule.method.one_f_one_b import OneForwardOneBackward
from bench.study.compare.hosts import Crossing
from bench.study.compare.line import PAYLOAD
from bench.study.predict.links import across
from bench.study.predict.workload import Workload, way_of
from bench.study.sweep.compose import compose
from bench.study.sweep.library import RUN, Primary
from bench.system.call import Call
from bench.task.model.mlp import MLP
from bench.task.model.resnet import ResNet

UPDATES = 40
"""Updates of each run. To fill and drain two stages takes as many more ticks as the staleness: 5% of an FDG run."""
WORKLOAD = ("data=synthetic", "data.test_size=64", "epochs=1", f"max_steps={UPDATES}", "tracking=none")
MODELS = {
    MLP.name: ("model=mlp", "model.hidden=1024"),
    ResNet.name: ("model=resnet",),
}
"""Overrides of a network heavy in parameters (24 MiB, with 4 KiB a sample at its cut), and of one heavy in activations
(1 MiB, with 48 KiB)."""
CUTS = {MLP.name: "partition=[2]", ResNet.name: "partition=[8]"}
"""Overrides that cut each network into halves of equal time, measured once: cuts that moved would move the bytes."""
METHODS = {
    "FDG": ("stages=2", "replicas=1", "staleness=2"),
    "staleness 4": ("stages=2", "replicas=1", "staleness=4"),
    DistributedData.name: (f"method={DistributedData.name}", "stages=1", "replicas=2"),
    OneForwardOneBackward.name: (f"method={OneForwardOneBackward.name}", "stages=2", "replicas=1"),
}


@dataclass(frozen=True)
class Trial:
    """One run of one method."""

    model: str
    megabits: float
    """Megabits a second that were asked of the line."""
    measured_megabits: float
    """Megabits a second that TCP made of the line before the run."""
    method: str
    units_per_second: float
    bytes_per_sample: float
    """Bytes a sample that have to cross the line, both ways together."""
    line_bytes_per_sample: float
    """Bytes a sample that crossed the line, headers included."""
    efficiency: float
    locking: float


@dataclass(frozen=True)
class Forecast:
    """What a run should measure, by a walk of the clock with what its parts cost in the same round."""

    model: str
    megabits: float
    method: str
    units_per_second: float


def contenders(model: str, overrides: Sequence[str], primary: Primary = RUN) -> dict[str, list[str]]:
    """Compose each method's overrides: the same global batch an update, and as many samples as the updates take.

    Raises:
        ConfigError: an override is wrong.
    """
    samples = compose(overrides, primary).batch_size
    if samples % 2:
        raise ConfigError(f"batch_size={samples}: must be even, as two replicas share it")
    shared = [*WORKLOAD, *overrides, *MODELS[model], f"data.train_size={UPDATES * samples}"]
    points = {}
    for name, own in METHODS.items():
        alone = "stages=1" in own
        split = [f"batch_size={samples // 2}"] if alone else [f"batch_size={samples}", CUTS[model]]
        points[name] = [*shared, *own, *split]
        compose(points[name], primary)
    return points


def crossing_bytes(config: RunConfig, partition: Sequence[Mapping[str, Any]]) -> int:
    """Bytes that an update of two agents has to bring from one to the other, both ways together; takes torch.

    Args:
        partition: the stages, as the record has them.
    """
    from bench.task.build import build

    if config.stages > 1:
        return boundary_bytes(partition[0]["message_bytes"], config.microbatches)
    dataset = config.dataset(config.data.prepare())
    parameters = build(config.model, dataset).parameters()
    size = 8 if config.precision == "float64" else 4
    return allreduce_bytes(size * sum(parameter.numel() for parameter in parameters), config.replicas)


def trial_of(what: tuple[str, float, float, str], config: RunConfig, crossing: Crossing) -> Trial:
    """What a run has measured, of a model at a rate, asked and measured, by a method."""
    metrics, samples = crossing.record["metrics"], config.batch_size * config.replicas
    return Trial(
        *what,
        units_per_second=metrics[SPEED],
        bytes_per_sample=Call(crossing_bytes, config, crossing.record["partition"]).result() / samples,
        line_bytes_per_sample=crossing.line_bytes / (crossing.record["epochs"][-1]["step"] * samples),
        efficiency=metrics["throughput/efficiency"],
        locking=metrics["locking/total_fraction"],
    )


def forecast(model: str, megabits: float, configs: Mapping[str, RunConfig]) -> Iterator[Forecast]:
    """Forecast the speed of each method over a line of so many megabits a second, between agents on this machine."""
    common = Workload(configs["FDG"], None, across(megabits * 1e6 / 8 * PAYLOAD))
    for method, config in configs.items():
        # With its own grid and cut, and what was measured for the others.
        times = replace(common, config=config).predict(way_of(config))
        yield Forecast(model, megabits, method, times.units_per_second(config.units))
