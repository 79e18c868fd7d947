"""A configuration's costs on this machine, and what they make of any way to train it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import RunConfig
from bench.plan.clock import Clock
from bench.plan.forecast.costs import Setup, StageCost, Times
from bench.plan.forecast.prediction import predict_sharing
from bench.plan.partition import bounds, cut
from bench.plan.stretches import stretches
from bench.rule.lr.contract import updates
from bench.rule.method.contract import Method
from bench.rule.method.ddp import DistributedData
from bench.study.predict.links import Links
from bench.study.predict.processes import costs_of_layers, measure_speeds
from bench.system.call import Call

if TYPE_CHECKING:
    from bench.engine.measure.speed import Halves, Speed
    from bench.engine.profile import Layer

BUCKET_BYTES = (1 << 20, 25 << 20)
"""Bytes of DistributedDataParallel's buckets of gradients: of the first one, and of every other one."""
MICROBATCHES = (2, 4, 8)
"""Numbers of microbatches that the pipelines with a flush are compared with."""


@dataclass(frozen=True)
class Way:
    """One way to train a workload."""

    method: Method
    stages: int
    replicas: int
    batch_size: int
    """Samples of a replica's batch for one update."""
    staleness: int = 0
    microbatches: int = 1

    @property
    def agents(self) -> int:
        return self.stages * self.replicas


def way_of(config: RunConfig) -> Way:
    """The way to train that a configuration asks for."""
    grid = (config.stages, config.replicas, config.batch_size)
    return Way(config.method, *grid, config.canonical()["staleness"], config.microbatches)


@dataclass
class Workload:
    """What trains on what, without how; measured once for each batch size, number of agents, and share of the network
    that each of them holds."""

    config: RunConfig
    prepared: Path | None
    links: Links
    jitter: float | None = None
    """The jitter of every agent, as :class:`~bench.plan.forecast.costs.Setup` has it; None: as measured."""
    _layers: dict[tuple[int, str], list[Layer]] = field(default_factory=dict)
    _speeds: dict[tuple[int, int, int], Speed] = field(default_factory=dict)
    _schedules: dict[Method, float] = field(default_factory=dict)

    def predict(self, way: Way) -> Times:
        """Predict the times of a way to train.

        Raises:
            ConfigError, ValueError: there are not enough samples or layers for it.
        """
        stretches, together = self.stretches(way), self.setup(way)
        return predict_sharing(self.setup(way, 1), together, stretches)

    def units(self, way: Way) -> int:
        """Count the units of an update."""
        return way.batch_size * way.replicas * self.config.model.window

    def stretches(self, way: Way) -> list[int]:
        """Count the updates between flush points.

        Raises:
            ConfigError: there are not enough samples for one update.
        """
        from bench.task.dataset import batches_per_epoch, check_batch_size

        config, dataset = self.config, self.config.dataset(self.prepared)
        check_batch_size(dataset, way.batch_size, way.replicas)
        per_epoch = batches_per_epoch(dataset.samples, way.batch_size, way.replicas)
        steps = updates(config.epochs, config.max_steps, per_epoch)
        return [len(stretch) for stretch in stretches(steps, per_epoch, config.flush_every)]

    def setup(self, way: Way, together: int | None = None) -> Setup:
        """The costs of a way where ``together`` agents compute at the same time; None: all of them, or one a core."""
        cores = len(os.sched_getaffinity(0))
        together = together or min(way.agents, cores)
        # Each core with as much of the network as an agent has: what it keeps in its caches depends on that.
        pieces = min(way.stages, cores)
        speed = self.speed(way.batch_size // way.microbatches, together, pieces)
        # A batch is prepared at once.
        whole = self.speed(way.batch_size, together, pieces)
        spans = bounds(self._cuts(way), len(speed.layers))
        clock = Clock(way.stages, way.staleness, 0)
        recomputes = way.method.stale and self.config.weights == "recomputed"
        stages = [
            replace(self._stage(speed, way, span, clock.lag(number) > 0, recomputes), data=whole.data)
            for number, span in enumerate(spans)
        ]
        if way.method.whole:
            bundles = buckets(speed)
            averaging = sum(self.links.averaging.seconds(size) for _, size in bundles)
            stages = [replace(stages[0], buckets=bundles, averaging=averaging)]
        if way.method.splits_backward:
            later = [_in_two(stage, speed.halves[slice(*span)]) for stage, span in zip(stages, spans, strict=True)][1:]
            # Where the data comes in, nobody wants their gradient, and the second pass is all.
            stages = [replace(stages[0], backward=0.0, weights=stages[0].backward), *later]
        return Setup(
            way.method,
            stages,
            way.replicas,
            way.staleness,
            way.microbatches,
            self._a_pass(way),
            self.links.stages,
            self.links.replicas,
            whole.jitter if self.jitter is None else self.jitter,
            self.config.seed,
            way.method.stale and self.config.clip.spans_stages,
        )

    def speed(self, batch_size: int, together: int, pieces: int) -> Speed:
        """The speed of the layers where ``together`` agents compute at once, each with one of ``pieces`` even pieces;
        measured when it is first asked for."""
        if (batch_size, together, pieces) not in self._speeds:
            layers = self.layers(batch_size, "measured")
            spans = bounds(self._even_cuts([layer.cost for layer in layers], pieces), len(layers))
            found = measure_speeds(self._whole(batch_size), self.prepared, layers, spans, max(together, pieces))
            self._speeds |= {(batch_size, count, pieces): speed for count, speed in found.items()}
        return self._speeds[batch_size, together, pieces]

    def layers(self, batch_size: int, how: str) -> list[Layer]:
        """The layers of the whole network, with ``measured`` or ``counted`` costs, as a run would cut it by; found out
        when they are first asked for."""
        if (batch_size, how) not in self._layers:
            self._layers[batch_size, how] = costs_of_layers(self._whole(batch_size), self.prepared, how)
        return self._layers[batch_size, how]

    def _whole(self, batch_size: int) -> RunConfig:
        """The run with its network in one agent, to be measured on so many samples: on a microbatch's, which the run's
        own number of microbatches need not divide again."""
        alone = replace(self.config, method=DistributedData(), stages=1, replicas=1, partition="measured")
        return replace(alone, batch_size=batch_size, microbatches=1)

    def parameter_bytes(self) -> list[int]:
        """Bytes of each layer's parameters."""
        return [layer.held.parameters for layer in self.layers(self.config.batch_size, "measured")]

    def _a_pass(self, way: Way) -> float:
        """Seconds that torch's schedule takes for each pass; measured when it is first asked for."""
        if not way.method.microbatched:
            return 0.0
        if way.method not in self._schedules:
            from bench.engine.measure.overhead import seconds_a_pass

            self._schedules[way.method] = Call(seconds_a_pass, way.method).result()
        return self._schedules[way.method]

    def _cuts(self, way: Way) -> list[int]:
        """The cuts that the run would make."""
        how = "counted" if self.config.partition == "counted" else "measured"
        layers = self.layers(way.batch_size // way.microbatches, how)
        return self._even_cuts([layer.cost for layer in layers], way.stages * way.method.pieces)

    def _even_cuts(self, costs: Sequence[float], pieces: int) -> list[int]:
        """The configuration's own cuts, or as even ones as can be where it has none for so many pieces."""
        partition = self.config.partition
        return partition if isinstance(partition, list) and len(partition) == pieces - 1 else cut(costs, pieces)

    def _stage(self, speed: Speed, way: Way, span: tuple[int, int], delayed: bool, recomputes: bool) -> StageCost:
        # A pipeline's microbatches are in flight together, as batches are where gradients are delayed.
        known = speed.held if delayed or way.method.microbatched else speed.passes
        first, end = span
        passes, parameters = known[first:end], sum(speed.parameter_bytes[first:end])
        size = speed.layers[end - 1].output.bytes if end < len(speed.layers) else 0
        forward = sum(layer.forward for layer in passes)
        backward = sum(layer.backward for layer in passes) + speed.collect * parameters
        larger = max(size, speed.layers[first - 1].output.bytes if first else 0)
        return StageCost(
            forward,
            backward + (forward if delayed and recomputes else 0.0),
            speed.update * parameters,
            message_bytes=size,
            parameter_bytes=parameters,
            send=self.links.send.seconds(larger),
            receive=self.links.receive.seconds(larger),
            averaging=self.links.averaging.seconds(parameters),
        )


def _in_two(stage: StageCost, halves: Sequence[Halves]) -> StageCost:
    """A stage's costs with the backward in two passes."""
    return replace(stage, backward=sum(layer.input for layer in halves), weights=sum(layer.weights for layer in halves))


def buckets(speed: Speed) -> tuple[tuple[float, float], ...]:
    """The buckets that DistributedDataParallel bundles gradients in, as they come: (share when ready, bytes)."""
    total, done, held = sum(layer.backward for layer in speed.passes), 0.0, 0
    found: list[tuple[float, float]] = []
    for layer, size in zip(reversed(speed.passes), reversed(speed.parameter_bytes), strict=True):
        done, held = done + layer.backward, held + size
        if held >= BUCKET_BYTES[min(len(found), 1)]:
            found.append((done / total, held))
            held = 0
    return (*found, (1.0, held)) if held or not found else tuple(found)
