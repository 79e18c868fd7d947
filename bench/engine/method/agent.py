"""What every agent is at a flush point, whatever it trains by: weights to average, to evaluate and to hand out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench.config import RunConfig
from bench.engine.meter import Meter
from bench.engine.numerics import Numerics
from bench.engine.transport.channels import Receiver, Sender
from bench.engine.transport.message import Message
from bench.engine.transport.shared import SharedReceiver, SharedSender
from bench.engine.weights.averaging import agreement, mean_over_replicas
from bench.engine.weights.clipping import clipping
from bench.engine.weights.versions import Weights
from bench.engine.worker import Ages, Evaluation, Stretch
from bench.engine.world import World
from bench.plan.footprint import Footprint, LayerBytes
from bench.task.batches import Batches, Judged
from bench.task.contract import Split
from bench.task.tensors import Tensors

Inlet = Receiver | SharedReceiver
Outlet = Sender | SharedSender


class Piece(NamedTuple):
    """Layers in a row in one agent, and the channels at their ends; None where a neighbour is the agent itself, or the
    network ends."""

    module: nn.Module
    inputs: Inlet | None
    outputs: Outlet | None


class Cut(NamedTuple):
    """The network, and where it is cut."""

    network: nn.Sequential
    """All of it, not placed."""
    spans: list[tuple[int, int]]
    """(first layer, last layer + 1) of every piece."""
    messages: list[Message]
    """Into and out of every piece in turn, one more than there are pieces; of one microbatch."""
    layers: list[LayerBytes]
    """What each layer takes of memory."""


def piece(network: nn.Sequential, first: int, last: int) -> nn.Sequential:
    """Take layers ``first .. last - 1`` out of the network, under the names that they have there."""
    return nn.Sequential(OrderedDict((str(number), network[number]) for number in range(first, last)))


class Agent(ABC):
    """One process's weights, and what it does with them at a flush point.

    Args:
        module: the agent's layers, placed.
        versions: the number of versions of the weights that are kept.
        batches: this replica's.
    """

    def __init__(
        self,
        config: RunConfig,
        world: World,
        numerics: Numerics,
        module: nn.Module,
        versions: int,
        batches: Batches,
        meter: Meter,
    ) -> None:
        self._config, self._world, self._numerics, self._batches, self.meter = config, world, numerics, batches, meter
        self.weights = Weights(module.train(), versions)
        layout = self.weights.layout._replace(delay=self._delay(config, world))
        self._optimizer = config.optimizer.flat(self.weights.current, layout)
        self._clip = clipping(config.clip, world, self.weights, meter)
        self._averaging = agreement(config.averaging, world, self.weights, self._clip, self._optimizer, meter)
        self._losses: list[Tensor] = []
        """The loss of each batch of the stretch, where the agent has the network's last layer."""
        self._staleness: Counter[int] = Counter()

    @classmethod
    @abstractmethod
    def of(cls, config: RunConfig, world: World, numerics: Numerics, cut: Cut, batches: Batches, meter: Meter) -> Agent:
        """Make this process's part, of its share of the network and of its replica's batches."""

    @abstractmethod
    def begin(self, stretch: Stretch) -> Sequence[int]:
        """Get ready for a stretch of training; return its ticks."""

    @abstractmethod
    def step(self, tick: int) -> None:
        """Train for one tick."""

    @abstractmethod
    def flush(self) -> None:
        """Let the messages leave, as the stretch's last update is over."""

    @staticmethod
    def _delay(config: RunConfig, world: World) -> int:  # noqa: ARG004
        """How many updates old the agent's gradients are in a full pipeline."""
        return 0

    def footprint(self, cut: Cut) -> Footprint | None:  # noqa: ARG002
        """The bytes that this agent adds to its process; None where that is not predicted."""
        return None

    @abstractmethod
    def _pieces(self) -> Sequence[Piece]:
        """The pieces that the agent holds, in the order of the layers."""

    def loss(self) -> float | None:
        """The mean training loss since it was last asked for; None where the agent has not the network's last layer."""
        if not self._losses:
            return None
        total = float(torch.stack(self._losses).mean())
        self._losses.clear()
        return total

    def agree(self) -> float:
        """Average, at a flush, the batch-norm statistics over the replicas; return the squared distance of this agent's
        weights from the replicas' mean."""
        for buffer in self.weights.module.buffers():
            if buffer.is_floating_point():
                buffer.copy_(mean_over_replicas(self._world, buffer))
        self._mean = self._averaging.consensus()
        return float((self.weights.current - self._mean).square().sum())

    def settle(self) -> None:
        """End the run: every replica takes the mean weights."""
        self.weights.current.copy_(self._mean)

    @torch.no_grad()
    def evaluate(self, split: Split) -> Evaluation:
        """Pass this replica's share of a split's batches through the pipeline, at the replicas' mean weights."""
        own = self.weights.current.clone()
        self.weights.current.copy_(self._mean)
        self.weights.module.eval()
        judged = self._batches.judged[split]
        mine = range(self._world.replica, judged.batches, self._config.replicas)
        pieces = self._pieces()
        for channel in (channel for piece in pieces for channel in (piece.inputs, piece.outputs)):
            if channel is not None:
                channel.open(len(mine) * self._config.microbatches)
        result = Evaluation()
        for batch in mine:
            outputs = self._through(pieces, judged, batch)
            if outputs:
                result += self._numerics.score(torch.cat(outputs), judged, batch)
        for piece in pieces:
            if piece.outputs is not None:
                piece.outputs.flush()
        self.weights.module.train()
        self.weights.current.copy_(own)
        return result

    def _through(self, pieces: Sequence[Piece], judged: Judged, batch: int) -> list[Any]:
        """What the network tells of one batch, by microbatch as the channels are made for; nothing where others have
        it."""
        parts: list[Tensors] = []
        for piece in pieces:
            if piece.inputs is not None:
                parts = [piece.inputs.receive() for _ in range(self._config.microbatches)]
            elif not parts:
                parts = list(judged.inputs(batch).chunk(self._config.microbatches))
            parts = [self._numerics.apply(piece.module, part) for part in parts]
            if piece.outputs is not None:
                for part in parts:
                    piece.outputs.send(part)
                parts = []
        # Not before: a layer may hand on its very input.
        for piece in pieces:
            if piece.inputs is not None:
                piece.inputs.release(self._config.microbatches)
        return parts

    def ages(self) -> list[Ages]:
        return [Ages(self._world.stage, self._world.replica, dict(sorted(self._staleness.items())), self._versions())]

    def _versions(self) -> int:
        """The number of versions of the weights that are kept."""
        return self.weights.kept

    def network(self) -> dict[str, Tensor]:
        if self._world.replica > 0:
            return {}
        # Copies: each parameter is a view of all weights, which would travel once with every one of them.
        return {name: tensor.detach().cpu().clone() for name, tensor in self.weights.module.state_dict().items()}

    def state(self) -> dict[str, Any]:
        return {
            "weights": self.weights.state(),
            "optimizer": self._optimizer.state(),
            "averaging": self._averaging.state(),
            "losses": torch.stack(self._losses) if self._losses else None,
            "staleness": dict(self._staleness),
        }

    def load(self, state: dict[str, Any]) -> None:
        self.weights.load(state["weights"])
        self._optimizer.load(state["optimizer"])
        self._averaging.load(state["averaging"])
        self._losses = [] if state["losses"] is None else list(state["losses"].unbind())
        self._staleness = Counter(state["staleness"])
