"""The delayed-gradient worker: one stage of one replica, driven tick by tick."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch

# A third of a second, which torch.autograd.grad takes for it, on the clock, when it is first given gradients.
import torch.fx.experimental.symbolic_shapes
from torch import nn

from bench.config import RunConfig
from bench.engine.meter import Meter
from bench.engine.method.agent import Agent, Cut, Piece, piece
from bench.engine.numerics import Numerics, seed_stage
from bench.engine.transport.channels import Route
from bench.engine.transport.message import Message
from bench.engine.transport.shared import Exchange
from bench.engine.weights.lookahead import Lookahead
from bench.engine.weights.versions import Weights
from bench.engine.worker import Stretch
from bench.engine.world import World
from bench.plan.clock import Clock
from bench.plan.footprint import Footprint
from bench.rule.lr.contract import updates
from bench.task.batches import Batches
from bench.task.tensors import Tensors, every, together

FLUSH_COPIES = 1
"""Copies of the weights at a flush: an evaluation sets the agent's own aside."""


@dataclass
class InFlight:
    """What a batch leaves behind between its forward and its backward."""

    batch: int
    version: int
    """Updates that the weights of its forward had seen."""
    input: Tensors
    output: Tensors | None
    """Its activations, or in the last stage its loss; None where the forward will be recomputed."""
    parameters: list[nn.Parameter]


class Stage(Agent):
    """Agent (replica, stage): at most one forward, one backward and one update in a tick.

    Args:
        module: the stage's layers, placed.
        boundaries: messages ``[into the stage, out of the stage]``, None at the ends of the pipeline.
        batches: this replica's; the first stage takes inputs from it, the last one targets.
    """

    def __init__(
        self,
        config: RunConfig,
        world: World,
        numerics: Numerics,
        module: nn.Module,
        boundaries: tuple[Message | None, Message | None],
        batches: Batches,
        meter: Meter,
    ) -> None:
        longest = min(updates(1, config.max_steps, batches.batches), config.flush_every or batches.batches)
        clock = self._clock = config.clock(longest)
        self._stage, self._first, self._last = world.stage, world.stage == 0, world.stage == config.stages - 1
        delayed = clock.lag(self._stage) > 0
        self._forward_first = clock.forward_first(self._stage, config.replicas)
        stashed, forwards = delayed and config.weights == "stashed", clock.versions(self._stage)
        foreseen = delayed and config.correction.foresees
        super().__init__(config, world, numerics, module, forwards if stashed and not foreseen else 1, batches, meter)
        self._shadow = self.weights.shadow() if delayed and config.weights == "recomputed" else None
        self._prediction = Lookahead(self.weights, self._optimizer, forwards) if foreseen else None
        self._shrinkage = config.correction.shrinkage() if config.staleness else 1.0
        self._flight: deque[InFlight] = deque()
        self._connect(boundaries, clock)

    @classmethod
    def of(cls, config: RunConfig, world: World, numerics: Numerics, cut: Cut, batches: Batches, meter: Meter) -> Agent:
        stage, ends = world.stage, [None, *cut.messages[1:-1], None]
        module = numerics.place(piece(cut.network, *cut.spans[stage]))
        return cls(config, world, numerics, module, (ends[stage], ends[stage + 1]), batches, meter)

    @staticmethod
    def _delay(config: RunConfig, world: World) -> int:
        return config.clock(0).lag(world.stage)

    def _connect(self, boundaries: tuple[Message | None, Message | None], clock: Clock) -> None:
        into, out = boundaries
        world, rank = self._world, self._world.rank
        previous, following = world.grid.previous(rank), world.grid.next(rank)
        self._inputs = self._input_gradients = self._outputs = self._output_gradients = None
        exchange = Exchange(world)
        gradients = clock.room_backward()
        if previous is not None and into is not None:
            room = clock.room_forward(self._stage)
            self._inputs = exchange.receiver(Route.activations(world, previous, previous), into, *room)
            self._input_gradients = exchange.sender(Route.gradients(world, rank, previous), into, *gradients)
        if following is not None and out is not None:
            room = clock.room_forward(self._stage + 1)
            self._outputs = exchange.sender(Route.activations(world, rank, following), out, *room)
            self._output_gradients = exchange.receiver(Route.gradients(world, following, following), out, *gradients)
        exchange.close()

    # ------------------------------------------------------------------------------------------------------- training
    def begin(self, stretch: Stretch) -> Sequence[int]:
        """Get ready for a stretch of training; return the ticks that this stage has a pass in."""
        self._stretch = stretch
        self._clock = self._config.clock(stretch.batches)
        for channel in (self._inputs, self._input_gradients, self._outputs, self._output_gradients):
            if channel is not None:
                channel.open(stretch.batches)
        return self._clock.busy(self._stage)

    def step(self, tick: int) -> None:
        """Work for one tick. Either order gives the same bits: the forward has the weights before this tick's
        update."""
        forward, backward = self._clock.forward(self._stage, tick), self._clock.backward(self._stage, tick)
        if self._forward_first and forward is not None:
            self._forward(forward)
        if backward is not None:
            self._backward(backward)
            self._averaging.begin(self._stretch.rates[self._stage][backward])
        if not self._forward_first and forward is not None:
            self._forward(forward)
        if backward is not None:
            self._averaging.finish()
        self.meter.enter("other")

    def flush(self) -> None:
        """Let the messages leave, as the stretch's last tick is over."""
        self.meter.enter("sending")
        for sender in (self._outputs, self._input_gradients):
            if sender is not None:
                sender.flush()
        self.meter.enter("other")

    def _forward(self, batch: int) -> None:
        x = self._input(batch)
        self.meter.enter("forward", batch)
        self._seed(batch)
        weights = self._forward_weights(batch)
        if self._shadow is None:
            output = self._numerics.apply(weights.module, x)
        else:
            with torch.no_grad():
                output = self._numerics.apply(weights.module, x)
        if self._last:
            output = self._numerics.loss(output, self._batches.targets(*self._stretch.place(batch)))
            self._losses.append(output.detach())
        kept = output if self._shadow is None else None
        self._flight.append(InFlight(batch, self.weights.version, x, kept, weights.parameters))
        if self._outputs is not None:
            self.meter.enter("sending", batch)
            self._outputs.send(output)

    def _forward_weights(self, batch: int) -> Weights:
        if self._prediction is None:
            return self.weights
        update = self.weights.version - self._stretch.first_step
        # Of the batches before this one as many are in flight, and each will make its update before this one's.
        return self._prediction.ahead(batch - update, self._stretch.rates[self._stage][update])

    def _input(self, batch: int) -> Tensors:
        if self._inputs is None:
            self.meter.enter("data", batch)
            return self._batches.inputs(*self._stretch.place(batch))
        self.meter.enter("forward_lock", batch)
        return together([part.requires_grad_() for part in every(self._inputs.receive())])

    def _backward(self, batch: int) -> None:
        flight = self._flight.popleft()
        assert flight.batch == batch
        incoming = None
        if self._output_gradients is not None:
            self.meter.enter("backward_lock", batch)
            incoming = every(self._output_gradients.receive())
        self.meter.enter("backward", batch)
        if incoming is not None and self._shrinkage != 1:
            incoming = tuple(gradient * self._shrinkage for gradient in incoming)
        output = self._recompute(flight) if flight.output is None else flight.output
        sources = flight.parameters if self._first else [*flight.parameters, *every(flight.input)]
        gradients = torch.autograd.grad(output, sources, incoming)
        count = len(flight.parameters)
        self.weights.collect(gradients[:count])
        self._staleness[self.weights.version - flight.version] += 1
        if self._input_gradients is not None:
            self.meter.enter("sending", batch)
            self._input_gradients.send(together(gradients[count:]))
        # Not before: a gradient may be handed on as it came.
        for used in (self._inputs, self._output_gradients):
            if used is not None:
                used.release()

    def _recompute(self, flight: InFlight) -> Tensors:
        """Make the forward again (features replay), at the current weights and with statistics that do not count."""
        assert self._shadow is not None
        self._seed(flight.batch)
        output: Tensors = self._numerics.apply(self._shadow, flight.input)
        return output

    def _seed(self, batch: int) -> None:
        seed_stage(self._config.seed, self._stretch.first_step + batch, self._world.replica, self._stage)

    def _versions(self) -> int:
        return self.weights.kept + (self._prediction.kept if self._prediction else 0)

    def footprint(self, cut: Cut) -> Footprint:
        """The bytes that this agent adds to its process."""
        channels = (self._inputs, self._input_gradients, self._outputs, self._output_gradients)
        versions = self._versions()
        return Footprint(
            cut.layers[slice(*cut.spans[self._stage])],
            input=cut.messages[0].bytes if self._inputs is None else self._inputs.message_bytes,
            incoming=0 if self._output_gradients is None else self._output_gradients.message_bytes,
            slots=sum(channel.bytes for channel in channels if channel is not None),
            versions=versions,
            states=self._optimizer.states + self._averaging.copies,
            scratch=self._optimizer.scratch + FLUSH_COPIES,
            begun=round((versions + 1 + self._optimizer.begun) * self.weights.gradient.nbytes),
            in_flight=self._clock.in_flight(self._stage, self._config.replicas),
            recomputed=self._shadow is not None,
        )

    def _pieces(self) -> list[Piece]:
        return [Piece(self.weights.module, self._inputs, self._outputs)]
