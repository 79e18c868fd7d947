"""One rank, one run: the training loop that every method goes through."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from bench.config import RunConfig
from bench.engine.assembly import build_worker, cut_as
from bench.engine.checkpoint import Checkpointer, Emit, Place, State
from bench.engine.measure.curvature import CurvatureOnTheWay
from bench.engine.meter import Meter
from bench.engine.stop import Paused
from bench.engine.summary import AgentReport, EpochReport, FlushReport, Outcome, timeline
from bench.engine.worker import Evaluation, Stretch
from bench.engine.world import World
from bench.plan.clock import Clock
from bench.plan.stretches import stretches
from bench.record.metrics import SECONDS, SPEED, Ended, taken
from bench.rule.convergence import limits_of, margin_of
from bench.rule.lr.contract import updates
from bench.system.heap import give_back_freed_memory, keep_freed_memory
from bench.system.resident import forget_peak, peak_memory, resident
from bench.system.signals import is_announced
from bench.task.contract import Split
from bench.task.dataset import Dataset

PROGRESS_SECONDS = 1.0
Show = Callable[[Sequence[Mapping[str, Any]]], None]
"""Takes timelines."""


def train(
    config: RunConfig,
    dataset: Dataset,
    world: World,
    emit: Emit,
    place: Place | None = None,
    show: Show | None = None,
) -> Outcome:
    """Train to the end, or until the loss says that it diverges. Every rank of the run calls it.

    Args:
        emit: takes the events as they happen; called at rank 0 alone.
        place: where the run's checkpoints are, of which the newest is gone on from; None: it has none.
        show: takes the timelines of all processes as soon as there are some; called at rank 0 alone.
    """
    if world.device.type == "cpu":
        torch.set_num_threads(1)
        keep_freed_memory()
    return _Run(config, dataset, world, emit, place, show).train()


class _Run:
    def __init__(
        self, config: RunConfig, dataset: Dataset, world: World, emit: Emit, place: Place | None, show: Show | None
    ) -> None:
        self._config, self._world, self._emit, self._show = config, world, emit, show
        self._meter = Meter(world.device)
        self._checkpointer = Checkpointer(place, config, dataset, world, emit) if place else None
        found = self._checkpointer.newest() if self._checkpointer else None
        # Measured again, the layers would be cut elsewhere.
        cuts = cut_as(config, found.state["partition"]) if found else config
        self._method, batches, partition, self._footprint = build_worker(cuts, dataset, world, self._meter)
        self._per_epoch, self._split = batches[0].batches, dataset.judged_by
        self._steps = updates(config.epochs, config.max_steps, self._per_epoch)
        self._epochs = math.ceil(self._steps / self._per_epoch)
        self._done = 0
        """Updates made so far."""
        self._peak = 0
        """The most bytes that this rank's process held before the checkpoint that the run goes on from."""
        self._seconds = self._epoch_seconds = 0.0
        """The training clock: of the whole run, and of the epoch that it is in."""
        self._dataset, self._told, self._judgement = dataset, dataset.qualities, dataset.judgement
        clock = Clock(config.stages, config.staleness, 0)
        self._lags = [clock.lag(stage) for stage in range(config.stages)]
        self._outcome = Outcome("done", partition)
        asked = config.lr.margin_every > 0 and world.rank == 0
        self._curvature = CurvatureOnTheWay(config, dataset, world.device) if asked else None
        # Rank 0 has passed a batch through the whole network: what that took is not its part's.
        give_back_freed_memory()
        self._before = resident()
        if found:
            self._load(found.step, found.state)
            del found
            give_back_freed_memory()
        forget_peak(world.device)

    def train(self) -> Outcome:
        # So that the clock starts at that time, and does not wait for a rank that is not here yet.
        self._world.barrier()
        length = {"steps": self._steps, "epochs": self._epochs, "units_per_step": self._config.units}
        self._announce(event="started", **length, task=self._judgement.told())
        self._outcome.resumed = self._done > 0 or (self._checkpointer is not None and self._checkpointer.lost)
        if self._outcome.resumed:
            self._announce(event="resumed", step=self._done)
        for stretch in self._stretches():
            self._flush(stretch, self._stretch(stretch))
            if self._is_diverged:
                break
        self._conclude()
        return self._outcome

    def _stretches(self) -> Iterator[Stretch]:
        """The pieces of training that are still to be made."""
        for whole in stretches(self._steps, self._per_epoch, self._config.flush_every):
            # Without staleness other flush points are the same run, and the checkpoint may be of such.
            if left := range(max(whole.start, self._done), whole.stop):
                rates = [self._config.lr.rate(step, self._steps, self._per_epoch) for step in left]
                of_stages = [self._of_stage(k, left.start, rates) for k in range(len(self._lags))]
                epoch, first_batch = divmod(left.start, self._per_epoch)
                yield Stretch(epoch, len(left), left.start, of_stages, first_batch)

    def _flush(self, stretch: Stretch, wall: float) -> None:
        """Stand at a flush point: evaluate where an epoch ends, and leave a checkpoint where one is due."""
        self._done = stretch.first_step + stretch.batches
        last = self._done == self._steps
        ends = last or self._done % self._per_epoch == 0
        due = self._checkpointer is not None and self._checkpointer.due()
        reports = self._world.gather(FlushReport(wall, due, is_announced(), self._judged(last) if ends else None))
        wall = max(report.wall_seconds for report in reports)
        self._seconds, self._epoch_seconds = self._seconds + wall, self._epoch_seconds + wall
        if ends:
            summary = self._summary(stretch.epoch, [report.epoch for report in reports if report.epoch])
            self._epoch_seconds = 0.0
            self._outcome.epochs.append(summary)
            self._announce(event="epoch", **summary)
        if not self._outcome.timelines:
            self._outcome.timelines = self._world.gather(timeline(self._meter, self._method.ages()))
            if self._show and self._world.rank == 0:
                self._show(self._outcome.timelines)
        if not (last or self._is_diverged):
            stops = any(report.stop for report in reports)
            self._keep(stops or any(report.due for report in reports), stops)

    def _keep(self, due: bool, stops: bool) -> None:
        """Leave a checkpoint, if one is due, and stop behind it, if the end was announced.

        Raises:
            Paused: it has stopped.
        """
        if self._checkpointer and due and self._checkpointer.save(self._done, self._state()):
            self._outcome.checkpointed = True
            if stops:
                raise Paused(self._done, self._steps)

    @property
    def _is_diverged(self) -> bool:
        return self._outcome.status == "diverged"

    def _state(self) -> State:
        """What this rank needs, beside the configuration, to go on from this flush point."""
        return {
            "partition": self._outcome.partition,
            "epochs": self._outcome.epochs,
            "clock": [self._seconds, self._epoch_seconds],
            "peak": max(self._peak, peak_memory(self._world.device)),
            "meter": self._meter.state(),
            "method": self._method.state(),
        }

    def _load(self, step: int, state: State) -> None:
        self._done, self._peak, self._outcome.checkpointed = step, state["peak"], True
        self._seconds, self._epoch_seconds = state["clock"]
        self._outcome.partition, self._outcome.epochs = state["partition"], state["epochs"]
        self._meter.load(state["meter"])
        with torch.no_grad():
            self._method.load(state["method"])

    def _judged(self, last: bool) -> EpochReport:
        """Let the replicas agree, at the end of an epoch, and judge the network there."""
        loss, distance = self._method.loss(), self._method.agree()
        if last:
            self._method.settle()
        return EpochReport(loss, distance, self._method.evaluate(self._split))

    def _summary(self, epoch: int, reports: Sequence[EpochReport]) -> dict[str, Any]:
        """Sum up what the ranks report of an epoch."""
        losses = [report.loss for report in reports if report.loss is not None]
        loss_train = sum(losses) / len(losses)
        judged = sum((report.evaluation for report in reports), Evaluation())
        if not (loss_train <= self._config.loss_limit and math.isfinite(judged.sums["loss"])):
            self._outcome.status = "diverged"
        rate = self._config.lr.rate(self._done - 1, self._steps, self._per_epoch)
        squares = sum(report.squared_distance for report in reports)
        return {
            "epoch": epoch,
            "step": self._done,
            SECONDS: self._seconds,
            "loss/train": loss_train,
            **self._quality(self._split, judged),
            SPEED: (self._done - epoch * self._per_epoch) * self._config.units / self._epoch_seconds,
            "lr": rate,
            "consensus/distance": math.sqrt(squares / self._config.replicas),
            **self._stability(epoch, rate),
        }

    def _stability(self, epoch: int, rate: float) -> dict[str, float]:
        """The curvature of the loss at replica 0's weights, and the margin of the rates by it, where an epoch's end
        is to have them; nothing at other ranks."""
        every = self._config.lr.margin_every
        if not every or (epoch + 1) % every:
            return {}
        state = self._world.collect(self._method.network())
        if self._curvature is None:
            return {}
        curvature = self._curvature.at(state)
        margin = margin_of(limits_of(self._config, rate, curvature))
        return {"lr/curvature": curvature} | ({} if margin is None else {"lr/margin": margin})

    def _quality(self, split: Split, judged: Evaluation) -> dict[str, float]:
        """What the network is worth by a split of the data: NaN if the run has diverged."""
        if self._is_diverged:
            return {quality.of(split): math.nan for quality in self._told}
        found = self._dataset.judged(split, judged.sums)
        return {quality.of(split): found[quality.name] for quality in self._told}

    def _tested(self) -> dict[str, float]:
        """Look at the test split, once, at the end; where flush points judge by it, they have done so."""
        if self._split == "test":
            return {name: self._outcome.epochs[-1][name] for name in (each.of("test") for each in self._told)}
        judged = Evaluation() if self._is_diverged else self._method.evaluate("test")
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
                speed = done * self._config.units / (now - started)
                step = stretch.first_step + done
                self._announce(event="progress", epoch=stretch.epoch, step=step, units_per_second=speed)
        self._method.flush()
        return self._meter.stop()

    def _conclude(self) -> None:
        """Gather what the ranks know of the whole run."""
        outcome, world = self._outcome, self._world
        reports = world.gather(
            AgentReport.of(world.rank, self._meter, self._method.ages(), self._peak, self._predicted_peak_memory())
        )
        outcome.agents = [agent for report in reports for agent in report.agents()]
        count = outcome.epochs[-1]["step"] * self._config.units
        mixing = self._config.averaging.among(self._config.replicas)
        outcome.metrics = taken(
            Ended(self._judgement.units, count, outcome.epochs, self._tested(), outcome.agents, mixing)
        )
        outcome.state = world.collect(self._method.network())

    def _predicted_peak_memory(self) -> int | None:
        """The predicted peak of memory, in bytes. Libraries count as they are now: more of their code may come in."""
        now = resident()
        if self._footprint is None or self._before is None or now is None:
            return None
        return self._footprint.peak(self._before.own - self._footprint.begun + now.files)

    def _announce(self, **event: Any) -> None:
        if self._world.rank == 0:
            self._emit({"time": time.time(), **event})
