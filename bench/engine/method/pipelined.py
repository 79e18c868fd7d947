"""Pipeline parallelism: microbatches through the stages, in the order of torch.distributed.pipelining."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import pipelining

from bench.config import RunConfig
from bench.engine.meter import Meter
from bench.engine.method.agent import Agent, Cut, Inlet, Outlet, Piece
from bench.engine.method.metered import MeteredStage
from bench.engine.numerics import Numerics, seed_stage
from bench.engine.transport.channels import Route
from bench.engine.transport.message import Message
from bench.engine.transport.shared import Exchange
from bench.engine.worker import Stretch
from bench.engine.world import World
from bench.rule.method.baseline import Pipeline
from bench.rule.method.contract import Method
from bench.task.batches import Batches

TAGS = 2
"""Tags that messages across one boundary of two pieces need: one each way."""


def schedule_of(method: Method, stages: Sequence[Any], microbatches: int, **more: Any) -> Any:
    """Make torch's schedule of a pipeline, which wants a stage by itself where there is one."""
    assert isinstance(method, Pipeline), method
    kind = getattr(pipelining, method.schedule)
    return kind(stages if method.pieces > 1 else stages[0], microbatches, **more)


class Pipelined(Agent):
    """One stage of one replica in the schedule of torch's that the method names.

    A pipeline computes the update of the unsplit network, whose gradient is that of the mean loss of the whole batch.
    Batch norm takes its statistics from what passes it at once, though: a microbatch, whose running statistics also
    move once a microbatch. The update equals that of the unsplit network only without batch norm, or with one
    microbatch; and dropout draws other masks.

    The bubbles of a schedule are its forward and backward locking: a stage that has nothing to do is waiting for the
    activation or the gradient that its schedule wants next.

    Args:
        module: the layers of all the stage's pieces, placed, under the names that they have in the network.
        spans: (first layer, last layer + 1) of every piece of the network.
        messages: into and out of every piece in turn, one more than there are pieces; of one microbatch.
        batches: this replica's; the network's first piece takes inputs from it, its last one targets.
    """

    def __init__(
        self,
        config: RunConfig,
        world: World,
        numerics: Numerics,
        module: nn.Module,
        spans: Sequence[tuple[int, int]],
        messages: Sequence[Message],
        batches: Batches,
        meter: Meter,
    ) -> None:
        assert world.line is not None
        super().__init__(config, world, numerics, module, 1, batches, meter)
        for parameter, view in zip(self.weights.parameters, self.weights.views(self.weights.gradient), strict=True):
            parameter.grad = view
        exchange = Exchange(world)
        mine = config.method.held(config.stages, world.stage)
        self._stages = [self._stage(number, spans, messages, exchange) for number in mine]
        exchange.close()
        # The gradients of the loss are those of the batch's mean already, and want no scaling.
        self._schedule = schedule_of(
            config.method, self._stages, config.microbatches, loss_fn=self._loss, scale_grads=False
        )

    @classmethod
    def of(cls, config: RunConfig, world: World, numerics: Numerics, cut: Cut, batches: Batches, meter: Meter) -> Agent:
        spans = [cut.spans[number] for number in config.method.held(config.stages, world.stage)]
        layers = [(str(number), cut.network[number]) for span in spans for number in range(*span)]
        module = numerics.place(nn.Sequential(OrderedDict(layers)))
        return cls(config, world, numerics, module, cut.spans, cut.messages, batches, meter)

    def _stage(
        self, number: int, spans: Sequence[tuple[int, int]], messages: Sequence[Message], exchange: Exchange
    ) -> MeteredStage:
        """Make a piece and its channels, with tags of its own: two boundaries may lie between the same ranks."""
        world, depth, last = self._world, self._config.microbatches, len(spans) - 1
        me = world.rank
        before, after = self._neighbour(number - 1, last), self._neighbour(number + 1, last)
        inputs = outputs = input_gradients = output_gradients = None
        if before is not None:
            into, tag = messages[number], TAGS * (number - 1)
            inputs = exchange.receiver(Route.activations(world, before, before).tagged(tag), into, depth)
            input_gradients = exchange.sender(Route.gradients(world, me, before).tagged(tag), into, depth)
        if after is not None:
            out, tag = messages[number + 1], TAGS * number
            outputs = exchange.sender(Route.activations(world, me, after).tagged(tag), out, depth)
            output_gradients = exchange.receiver(Route.gradients(world, after, after).tagged(tag), out, depth)
        layers = [(str(layer), self.weights.module.get_submodule(str(layer))) for layer in range(*spans[number])]
        return MeteredStage(
            Piece(nn.Sequential(OrderedDict(layers)), inputs, outputs),
            (output_gradients, input_gradients),
            number,
            len(spans),
            (messages[number], messages[number + 1]),
            world.line,
            self._numerics,
            self.meter,
            self._seed,
        )

    def _neighbour(self, piece: int, last: int) -> int | None:
        """The rank that holds a piece, if there is such a piece and another rank holds it."""
        world = self._world
        if not 0 <= piece <= last:
            return None
        rank = world.grid.rank(world.replica, self._config.method.holder(self._config.stages, piece))
        return rank if rank != world.rank else None

    def begin(self, stretch: Stretch) -> Sequence[int]:
        """Get ready for a stretch of training; return its ticks."""
        self._stretch = stretch
        for channel in self._channels():
            channel.open(stretch.batches * self._config.microbatches)
        return range(stretch.batches)

    def step(self, tick: int) -> None:
        """Make one update."""
        place = self._stretch.place(tick)
        inputs: tuple[Tensor, ...] = ()
        targets: Tensor | None = None
        losses: list[Tensor] = []
        for stage in self._stages:
            stage.batch = tick
        if self._stages[0].is_first:
            self.meter.enter("data", tick)
            inputs = (self._batches.inputs(*place),)
        if self._stages[-1].is_last:
            targets = self._batches.targets(*place)
        self.meter.enter("other", tick)
        self._schedule.step(*inputs, target=targets, losses=losses, return_outputs=False)
        for channel in self._channels():
            if isinstance(channel, Inlet):
                channel.release(self._config.microbatches)
        if losses:
            self._losses.append(torch.stack(losses).detach().sum())
        self._averaging.begin(self._stretch.rates[self._world.stage][tick])
        self._averaging.finish()
        self.weights.gradient.zero_()
        self._staleness[0] += 1
        self.meter.enter("other")

    def flush(self) -> None:
        """Let the messages leave, as the stretch's last update is over."""
        self.meter.enter("sending")
        for channel in self._channels():
            if isinstance(channel, Outlet):
                channel.flush()
        self.meter.enter("other")

    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """A microbatch's share of the batch's mean loss."""
        loss = self._numerics.loss(outputs, targets) / self._config.microbatches
        self.meter.enter("other")
        return loss

    def _seed(self, part: int, piece: int) -> None:
        update = self._stretch.first_step + self._stages[0].batch
        seed_stage(self._config.seed, update * self._config.microbatches + part, self._world.replica, piece)

    def _pieces(self) -> list[Piece]:
        return [stage.piece for stage in self._stages]

    def _channels(self) -> Iterator[Inlet | Outlet]:
        for stage in self._stages:
            yield from (channel for channel in stage.channels if channel is not None)
