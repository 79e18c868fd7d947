"""How an agent scales its gradient before its update, by norms that other agents may have a part of."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from bench.engine.meter import Meter
from bench.engine.weights.versions import Weights
from bench.engine.world import World, peers_expected
from bench.rule.clip.contract import Clip

Clipping = Callable[[], None]
"""Scales ``weights.gradient`` in place, in the section ``update``, and leaves the meter there."""


def clipping(clip: Clip, world: World, weights: Weights, meter: Meter) -> Clipping:
    """Make the configured way to clip. Every rank makes one, in the same place of its program."""
    if clip.acts and clip.spans_stages and world.line:
        return _OfNetwork(clip, world, weights, meter)
    return _OfAgent(clip, weights) if clip.acts and weights.parameters else _nothing


def _nothing() -> None:
    """Leave the gradient as it is."""


class _OfAgent:
    """Scales by the norms of the agent's own parameters."""

    def __init__(self, clip: Clip, weights: Weights) -> None:
        self._clip, self._gradient = clip, weights.gradient
        self._gradients = weights.views(weights.gradient)

    def __call__(self) -> None:
        self._gradient.mul_(self._clip.factor(self._norms()))

    def _norms(self) -> Tensor:
        """The norm of each of the agent's parameters' gradients."""
        norms = [torch.linalg.vector_norm(gradient) for gradient in self._gradients]
        return torch.stack(norms) if norms else self._gradient.new_zeros(0)


class _OfNetwork(_OfAgent):
    """Scales by the norms of all parameters of the network.

    Each stage puts its own into a vector of all, in the order of the network and zeros elsewhere, so that a sum over
    the replica's stages hands the same vector to all of them, to the bit, wherever the network is cut. It waits until
    all stages have their gradient of the batch.
    """

    def __init__(self, clip: Clip, world: World, weights: Weights, meter: Meter) -> None:
        super().__init__(clip, weights)
        self._world, self._meter = world, meter
        own = [name for name, _ in weights.module.named_parameters()]
        known = dict.fromkeys(name for names in world.gather(own) for name in names)
        # By layer: an agent may hold two pieces of the network. Within a layer they are in order already.
        places = {name: at for at, name in enumerate(sorted(known, key=lambda name: int(name.partition(".")[0])))}
        self._places = torch.tensor([places[name] for name in own], dtype=torch.long)
        # A stage without weights has no type of theirs. Norms of any type are what they were, there and back.
        self._all = torch.zeros(len(places), dtype=torch.float64)

    def _norms(self) -> Tensor:
        self._all.zero_()[self._places] = super()._norms().to(self._all)
        self._meter.enter("update_lock")
        with peers_expected():
            dist.all_reduce(self._all, group=self._world.line)
        self._meter.enter("update")
        return self._all.to(self._gradient)
