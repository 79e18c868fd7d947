"""How the replicas of a stage agree: by their gradients at every update, or by gossip about their weights.

An update is begun when its gradient is there and finished when the tick's forward is done, so that what travels between
the replicas travels meanwhile.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bench.engine.meter import Meter
from bench.engine.weights.clipping import Clipping
from bench.engine.weights.versions import Weights
from bench.engine.world import World, peers_expected
from bench.rule.averaging.contract import Averaging
from bench.rule.optimizer.contract import Flat


class Agreement(ABC):
    """How one stage makes its update, in two halves."""

    copies: int
    """Copies of the weights that it keeps for itself."""

    @abstractmethod
    def begin(self, rate: float) -> None:
        """Start what has to travel, as ``weights.gradient`` is there."""

    @abstractmethod
    def finish(self) -> None:
        """Wait for what travels, and advance ``weights`` by one version."""

    @abstractmethod
    def consensus(self) -> Tensor:
        """The mean over the replicas of the newest weights, flat; only at a flush."""

    def state(self) -> dict[str, Any]:
        """What it carries over a flush point, of plain values and tensors."""
        return {}

    def load(self, state: dict[str, Any]) -> None:  # noqa: B027  (most carry nothing)
        """Go on from a :meth:`state`."""


class GradientAveraging(Agreement):
    """Average the gradients over the replicas, then step; alone, just step."""

    copies = 0

    def __init__(self, world: World, weights: Weights, clip: Clipping, optimizer: Flat, meter: Meter) -> None:
        self._world, self._weights, self._optimizer, self._meter = world, weights, optimizer, meter
        self._clip = clip
        self._work: dist.Work | None = None

    def begin(self, rate: float) -> None:
        self._rate = rate
        if self._world.peers is None:
            return
        self._meter.enter("averaging")
        with peers_expected():
            self._work = dist.all_reduce(self._weights.gradient, group=self._world.peers, async_op=True)

    def finish(self) -> None:
        if self._work is not None:
            self._meter.enter("update_lock")
            with peers_expected():
                self._work.wait()
            self._work = None
            self._meter.enter("averaging")
            self._weights.gradient.div_(self._world.grid.replicas)
        self._meter.enter("update")
        self._clip()
        self._optimizer.step(self._weights.advance(), self._weights.gradient, self._rate)

    def consensus(self) -> Tensor:
        return self._weights.current


class WeightMixing(Agreement):
    """Step alone, then mix the weights with the neighbours' on a graph (adapt, then combine; Lian et al. 2017).

    With replicas s, steps ``d_s`` and the mixing matrix M: ``w_s <- sum_r M[s, r] (w_r + d_r)``, by increasing r.
    """

    def __init__(
        self,
        world: World,
        row: Sequence[float],
        weights: Weights,
        clip: Clipping,
        optimizer: Flat,
        meter: Meter,
    ) -> None:
        self._world, self._weights, self._optimizer, self._meter = world, weights, optimizer, meter
        self._row, self._clip = row, clip
        self._mine = torch.empty_like(weights.current)
        wire = torch.device("cpu") if world.staged else self._mine.device
        others = [r for r, weight in enumerate(row) if weight and r != world.replica]
        self._theirs = {r: torch.empty_like(self._mine, device=wire) for r in others}
        self.copies = 2 + len(self._theirs)  # also the mean
        self._work: list[dist.Work | None] = []

    def begin(self, rate: float) -> None:
        self._meter.enter("update")
        self._clip()
        self._mine.copy_(self._weights.current)
        self._optimizer.step(self._mine, self._weights.gradient, rate)
        self._meter.enter("averaging")
        self._outgoing = self._mine.cpu() if self._world.staged else self._mine
        with peers_expected():
            self._work = [
                work
                for replica, buffer in self._theirs.items()
                for work in self._exchange(self._world.grid.rank(replica, self._world.stage), buffer)
            ]

    def finish(self) -> None:
        self._meter.enter("update_lock")
        with peers_expected():
            for work in self._work:
                assert work is not None
                work.wait()
        self._meter.enter("averaging")
        mixed = self._weights.advance().zero_()
        for replica, weight in enumerate(self._row):
            if replica == self._world.replica:
                mixed.add_(self._mine, alpha=weight)
            elif replica in self._theirs:
                mixed.add_(self._theirs[replica].to(mixed.device), alpha=weight)

    def consensus(self) -> Tensor:
        return mean_over_replicas(self._world, self._weights.current)

    def _exchange(self, peer: int, buffer: Tensor) -> list[dist.Work | None]:
        group = self._world.peers
        if self._world.backend == "nccl":
            ends = [dist.P2POp(dist.isend, self._outgoing, peer, group), dist.P2POp(dist.irecv, buffer, peer, group)]
            return list(dist.batch_isend_irecv(ends))
        return [dist.isend(self._outgoing, peer, group), dist.irecv(buffer, peer, group)]


def agreement(
    averaging: Averaging, world: World, weights: Weights, clip: Clipping, optimizer: Flat, meter: Meter
) -> Agreement:
    """Make the configured way to agree; one replica has nobody to agree with."""
    matrix = averaging.among(world.grid.replicas)
    if matrix is None:
        return GradientAveraging(world, weights, clip, optimizer, meter)
    row = [float(weight) for weight in matrix[world.replica]]
    return WeightMixing(world, row, weights, clip, optimizer, meter)


def mean_over_replicas(world: World, tensor: Tensor) -> Tensor:
    """The mean of a tensor over the replicas of this stage, as a new tensor."""
    average = tensor.clone()
    if world.peers is not None:
        with peers_expected():
            dist.all_reduce(average, group=world.peers)
        average.div_(world.grid.replicas)
    return average
