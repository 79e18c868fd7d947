"""A configuration's costs on this machine, and what they make of any way to train it."""

from __future__ import annotations

import math
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import ConfigError, RunConfig
from bench.plan.costs import Link, Method, Setup, StageCost, Times
from bench.plan.partition import bounds, cut
from bench.plan.pipeline import Clock
from bench.plan.rates import updates
from bench.plan.throughput import predict, stretches

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.engine.numerics import Numerics
    from bench.engine.speed import Pace, Speed

BUCKET_BYTES = (1 << 20, 25 << 20)
"""Of DistributedDataParallel: the first bucket of gradients, and every other one."""


@dataclass(frozen=True)
class Way:
    """One way to train a workload."""

    method: Method
    stages: int
    replicas: int
    batch_size: int
    """Of a replica and update."""
    staleness: int = 0
    microbatches: int = 1

    @property
    def chunks(self) -> int:
        """Pieces of the network that an agent holds. Of ``zero_bubble`` the form with one is walked (ZB1P), not torch's
        with two (ZBV): that is up to a tenth faster."""
        return 2 if self.method == "interleaved_1f1b" else 1


def way_of(config: RunConfig) -> Way:
    """The way to train that a configuration asks for."""
    grid = (config.stages, config.replicas, config.batch_size)
    return Way(config.method, *grid, config.canonical()["staleness"], config.microbatches)


@dataclass(frozen=True)
class Links:
    """Between stages and between replicas, and what a message costs the cores at its ends."""

    stages: Link
    replicas: Link
    copy: float = 0.0
    """Seconds a byte, at either end."""


@dataclass
class Workload:
    """What trains on what, without how; measured once for each batch size that is asked for."""

    config: RunConfig
    prepared: Path | None
    links: Links
    jitter: float
    _speeds: dict[int, Speed] = field(default_factory=dict)
    _operations: list[float] | None = None

    def predict(self, way: Way) -> Times:
        """
        Raises:
            ConfigError, ValueError: there are not enough images or layers for it.
        """
        return predict(self.setup(way), self.stretches(way))

    def stretches(self, way: Way) -> list[int]:
        """Updates of each epoch.

        Raises:
            ConfigError: there are not enough images for one update.
        """
        from bench.task import sources
        from bench.task.data import batches_per_epoch, check_batch_size

        images, config = len(sources.load(self.config.data, self.prepared).train_labels), self.config
        check_batch_size(images, way.batch_size, way.replicas)
        per_epoch = batches_per_epoch(images, way.batch_size, way.replicas)
        return stretches(updates(config.epochs, config.max_steps, per_epoch), per_epoch)

    def setup(self, way: Way) -> Setup:
        speed = self.speed(way.batch_size // way.microbatches)
        spans = bounds(self._cuts(way.stages * way.chunks), len(speed.layers))
        clock = Clock(way.stages, way.staleness, 0)
        recomputes = way.method == "decoupled" and self.config.weights == "recomputed"
        stages = [
            self._stage(speed, first, end, recomputes and clock.lag(number) > 0)
            for number, (first, end) in enumerate(spans)
        ]
        if way.method == "ddp":
            stages = [replace(stages[0], buckets=buckets(speed))]
        return Setup(
            way.method,
            stages,
            way.replicas,
            way.staleness,
            way.microbatches,
            way.chunks,
            self.links.stages,
            self.links.replicas,
            self.jitter,
            self.config.seed,
        )

    def speed(self, batch_size: int) -> Speed:
        """Measured when it is first asked for."""
        if batch_size not in self._speeds:
            self._speeds[batch_size] = _measure(replace(self.config, batch_size=batch_size), self.prepared)
        return self._speeds[batch_size]

    def _cuts(self, stages: int) -> list[int]:
        """Where the run would cut, or as evenly as can be where its own cuts are for another number of stages."""
        partition = self.config.partition
        if isinstance(partition, list) and len(partition) == stages - 1:
            return partition
        if partition == "counted":
            self._operations = self._operations or _count(self.config, self.prepared)
            return cut(self._operations, stages)
        return cut([layer.cost for layer in self.speed(self.config.batch_size).layers], stages)

    def _stage(self, speed: Speed, first: int, end: int, recomputed: bool) -> StageCost:
        layers, parameters = speed.layers[first:end], sum(speed.parameter_bytes[first:end])
        size = layers[-1].output.bytes if end < len(speed.layers) else 0
        forward = sum(layer.forward for layer in layers)
        backward = sum(layer.backward for layer in layers) + speed.collect * parameters
        larger = max(size, speed.layers[first - 1].output.bytes if first else 0)
        return StageCost(
            forward,
            backward + (forward if recomputed else 0.0),
            speed.update * parameters,
            message_bytes=size,
            parameter_bytes=parameters,
            data=speed.data,
            send=larger * self.links.copy,
            receive=larger * self.links.copy,
        )


def buckets(speed: Speed) -> tuple[tuple[float, float], ...]:
    """Gradients in the order of the backward, as DistributedDataParallel bundles them: (share when ready, bytes)."""
    total, done, held = sum(layer.backward for layer in speed.layers), 0.0, 0
    found: list[tuple[float, float]] = []
    for layer, size in zip(reversed(speed.layers), reversed(speed.parameter_bytes), strict=True):
        done, held = done + layer.backward, held + size
        if held >= BUCKET_BYTES[min(len(found), 1)]:
            found.append((done / total, held))
            held = 0
    return (*found, (1.0, held)) if held or not found else tuple(found)


def neighbours() -> Links:
    """Of agents on this machine: two of them exchange messages for a second."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.engine.speed"])
    with tempfile.TemporaryDirectory() as temporary, ProcessPoolExecutor(2, context) as pool:
        asked = [pool.submit(_exchange, rank, Path(temporary, "store")) for rank in range(2)]
        between, among = asked[0].result()
    # What cannot be told from nothing is nothing.
    bandwidth = 1 / among.per_byte if among.per_byte else math.inf
    return Links(Link(latency=between.latency, shared=True), Link(bandwidth, among.latency / 2), between.per_byte / 2)


def _exchange(rank: int, store: Path) -> tuple[Pace, Pace]:
    """What each of two processes runs."""
    import torch
    from torch.distributed import FileStore

    from bench.engine.speed import exchange_paces
    from bench.engine.world import joined
    from bench.study.compose import compose

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with joined(compose(["stages=2", "replicas=1"]), FileStore(str(store), 2)) as world:
        return exchange_paces(world)


def _measure(config: RunConfig, prepared: Path | None) -> Speed:
    from bench.engine.speed import measure

    network, inputs, numerics = _network(config, prepared)
    return measure(config, network, inputs, numerics)


def _count(config: RunConfig, prepared: Path | None) -> list[float]:
    """Operations of each layer."""
    from bench.engine.profile import profile

    network, inputs, numerics = _network(config, prepared)
    return [layer.cost for layer in profile(network, inputs(), numerics, "counted")]


def _network(config: RunConfig, prepared: Path | None) -> tuple[nn.Sequential, Callable[[], Tensor], Numerics]:
    """The network, placed, and what makes a batch's images."""
    import torch

    from bench.engine.assembly import batches_of
    from bench.engine.numerics import Numerics
    from bench.task import sources
    from bench.task.models import build

    torch.set_num_threads(1)
    dataset = sources.load(config.data, prepared)
    numerics = Numerics.of(config, torch.device(config.device))
    batches = batches_of(replace(config, replicas=1), dataset, 0, numerics)
    network = numerics.place(build(config.model, dataset.image_shape, dataset.classes))
    return network, lambda: batches.inputs(0, 0), numerics


def network_link(gigabits: float | None, microseconds: float | None) -> Links | None:
    """The link that was asked for; None: that of this machine.

    Raises:
        ConfigError: a number makes no sense.
    """
    if gigabits is None and microseconds is None:
        return None
    if gigabits is None or not 0 < gigabits < math.inf:
        raise ConfigError(f"--bandwidth={gigabits}: must be a finite number of Gbit/s above 0, given with --latency")
    if microseconds is None or not 0 <= microseconds < math.inf:
        raise ConfigError(f"--latency={microseconds}: must be a finite number of microseconds, given with --bandwidth")
    link = Link(gigabits * 1e9 / 8, microseconds * 1e-6)
    return Links(link, link)
