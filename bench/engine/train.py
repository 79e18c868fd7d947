"""One rank, one run: the training loop that every method goes through."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.config import RunConfig
from bench.engine.assembly import build_worker
from bench.engine.measure.curvature import CurvatureOnTheWay
from bench.engine.meter import Meter
from bench.engine.summary import AgentReport, EpochReport
from bench.engine.worker import Evaluation, Stretch
from bench.engine.world import World
from bench.plan.clock import Clock
from bench.record.metrics import SECONDS, SPEED, Ended, quality_of, taken
from bench.rule.convergence import limits_of, margin_of
from bench.rule.lr.contract import updates
from bench.system.heap import give_back_freed_memory, keep_freed_memory
from bench.system.resident import forget_peak, resident
from bench.task.dataset import Dataset, Split

Emit = Callable[[Mapping[str, Any]], None]
PROGRESS_SECONDS = 1.0


@dataclass
class Outcome:
    """What a run leaves in memory, for its record and its files."""

    status: str
    """``done``, or ``diverged``: an epoch's training loss is over ``loss_limit``, or a loss is not finite."""
    partition: list[dict[str, Any]]
    epochs: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    agents: list[dict[str, Any]] = field(default_factory=list)
    timelines: list[dict[str, Any]] = field(default_factory=list)
    state: dict[str, Tensor] = field(default_factory=dict)
    """Parameters and statistics: at rank 0 the uncut network's, elsewhere this process's own."""


def train(config: RunConfig, dataset: Dataset, world: World, emit: Emit) -> Outcome:
    """Train to the end, or until the loss says that it diverges. Every rank of the run calls it.

    Args:
        emit: takes the events as they happen; called at rank 0 alone.
    """
    if world.device.type == "cpu":
        torch.set_num_threads(1)
        keep_freed_memory()
    return _Run(config, dataset, world, emit).train()


class _Run:
    def __init__(self, config: RunConfig, dataset: Dataset, world: World, emit: Emit) -> None:
        self._config, self._world, self._emit = config, world, emit
        self._meter = Meter(world.device)
        self._method, batches, partition, self._footprint = build_worker(config, dataset, world, self._meter)
        self._per_epoch, self._split = batches[0].batches, dataset.judged_by
        self._steps = updates(config.epochs, config.max_steps, self._per_epoch)
        self._epochs = math.ceil(self._steps / self._per_epoch)
        self._images_per_step = config.batch_size * config.replicas
        clock = Clock(config.stages, config.staleness, 0)
        self._lags = [clock.lag(stage) for stage in range(config.stages)]
        self._outcome = Outcome("done", partition)
        asked = config.lr.margin_every > 0 and world.rank == 0
        self._curvature = CurvatureOnTheWay(config, dataset, world.device) if asked else None
        # Rank 0 has passed a batch through the whole network: what that took is not its part's.
        give_back_freed_memory()
        forget_peak(world.device)
        self._before = resident()

    def train(self) -> Outcome:
        # So that the clock starts at that time, and does not wait for a rank that is not here yet.
        self._world.barrier()
        self._announce(event="started", steps=self._steps, epochs=self._epochs)
        for epoch in range(self._epochs):
            summary = self._epoch(epoch)
            self._outcome.epochs.append(summary)
            self._announce(event="epoch", **summary)
            if self._outcome.status == "diverged":
                break
        self._conclude()
        return self._outcome

    def _epoch(self, epoch: int) -> dict[str, Any]:
        """Train up to the next flush point, evaluate there, and sum up what the ranks report."""
        done = epoch * self._per_epoch
        count = min(self._per_epoch, self._steps - done)
        rates = [self._config.lr.rate(done + index, self._steps, self._per_epoch) for index in range(count)]
        wall = self._stretch(
            Stretch(epoch, count, done, [self._of_stage(k, done, rates) for k in range(len(self._lags))])
        )
        loss, distance = self._method.loss(), self._method.agree()
        if epoch == self._epochs - 1:
            self._method.settle()
        reports = self._world.gather(EpochReport(wall, loss, distance, self._method.evaluate(self._split)))
        wall = max(report.wall_seconds for report in reports)
        losses = [report.loss for report in reports if report.loss is not None]
        loss_train = sum(losses) / len(losses)
        judged = sum((report.evaluation for report in reports), Evaluation())
        if not (loss_train <= self._config.loss_limit and math.isfinite(judged.loss)):
            self._outcome.status = "diverged"
        before = self._outcome.epochs[-1][SECONDS] if self._outcome.epochs else 0.0
        squares = sum(report.squared_distance for report in reports)
        return {
            "epoch": epoch,
            "step": done + count,
            SECONDS: before + wall,
            "loss/train": loss_train,
            **self._quality(self._split, judged),
            SPEED: count * self._images_per_step / wall,
            "lr": rates[-1],
            "consensus/distance": math.sqrt(squares / self._config.replicas),
            **self._stability(epoch, rates[-1]),
        }

    def _stability(self, epoch: int, rate: float) -> dict[str, float]:
        """The curvature of the loss at replica 0's weights, and the margin of the rates by it, where an epoch's end
        is to have them; nothing at other ranks."""
        every = self._config.lr.margin_every
        if not every or (epoch + 1) % every:
            return {}
        state = self._world.collect(self._method.state())
        if self._curvature is None:
            return {}
        curvature = self._curvature.at(state)
        margin = margin_of(limits_of(self._config, rate, curvature))
        return {"lr/curvature": curvature} | ({} if margin is None else {"lr/margin": margin})

    def _quality(self, split: Split, judged: Evaluation) -> dict[str, float]:
        """What the network is worth by a split of the data: NaN if the run has diverged."""
        loss, accuracy = quality_of(split)
        if self._outcome.status == "diverged":
            return {loss: math.nan, accuracy: math.nan}
        return {loss: judged.loss / judged.images, accuracy: judged.correct / judged.images}

    def _tested(self) -> dict[str, float]:
        """Look at the test images, once, at the end; where flush points judge by them, they have done so."""
        if self._split == "test":
            return {name: self._outcome.epochs[-1][name] for name in quality_of("test")}
        judged = Evaluation() if self._outcome.status == "diverged" else self._method.evaluate("test")
        return self._quality("test", sum(self._world.gather(judged), Evaluation()))

    def _of_stage(self, stage: int, done: int, rates: Sequence[float]) -> list[float]:
        """The learning rates that a stage applies in the updates from ``done`` on."""
        lag, config = self._lags[stage], self._config
        discounts = [config.correction.discount(lag, done + index, self._steps) for index in range(len(rates))]
        return [config.lr.share(lag) * part * whole for part, whole in zip(discounts, rates, strict=True)]

    def _stretch(self, stretch: Stretch) -> float:
        """Train between two flush points, on the clock; return the seconds that it took here."""
        ticks = self._method.begin(stretch)
        self._world.barrier()
        self._meter.start()
        said = started = time.perf_counter()
        for number, tick in enumerate(ticks, start=1):
            self._meter.tick(tick)
            self._method.step(tick)
            now = time.perf_counter()
            if now - said > PROGRESS_SECONDS:
                said = now
                done = min(number, stretch.batches)
                speed = done * self._images_per_step / (now - started)
                step = stretch.first_step + done
                self._announce(event="progress", epoch=stretch.epoch, step=step, images_per_second=speed)
        self._method.flush()
        return self._meter.stop()

    def _conclude(self) -> None:
        """Gather what the ranks know of the whole run."""
        outcome, world = self._outcome, self._world
        reports = world.gather(
            AgentReport.of(world.rank, self._meter, self._method.ages(), self._predicted_peak_memory())
        )
        outcome.agents = [agent for report in reports for agent in report.agents()]
        images = outcome.epochs[-1]["step"] * self._images_per_step
        mixing = self._config.averaging.among(self._config.replicas)
        outcome.metrics = taken(Ended(images, outcome.epochs, self._tested(), outcome.agents, mixing))
        outcome.timelines = [report.timeline() for report in reports]
        outcome.state = world.collect(self._method.state())

    def _predicted_peak_memory(self) -> int | None:
        """The predicted peak of memory, in bytes. Libraries count as they are now: more of their code may come in."""
        now = resident()
        if self._footprint is None or self._before is None or now is None:
            return None
        return self._footprint.peak(self._before.own - self._footprint.begun + now.files)

    def _announce(self, **event: Any) -> None:
        if self._world.rank == 0:
            self._emit({"time": time.time(), **event})
