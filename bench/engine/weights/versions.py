"""The weight versions of one stage, each flat in one buffer."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.rule.optimizer.layout import FlatLayout


class Weights:
    """A ring of weight versions of one module.

    Each version is a flat buffer with a copy of the module whose parameters are views into it, so that a version is
    written by one kernel and used without Python work per parameter. Batch-norm statistics are not versioned: all
    copies share them. A graph that still needs a version that is written over makes autograd raise, because the views
    share the buffer's version counter.

    With one version the weights are updated in place, and *silently*: a graph that was built before an update then
    goes backward at the weights after it. That is what ``weights: latest`` asks for; where no graph lives across an
    update it changes nothing.

    Args:
        module: the stage; it becomes the first copy.
        versions: buffers in the ring, ``Clock.versions`` for stashed weights, else 1.
    """

    def __init__(self, module: nn.Module, versions: int) -> None:
        parameters = list(module.parameters())
        self.layout = FlatLayout.of(module)
        """Where the parameters lie in a buffer."""
        example = parameters[0] if parameters else torch.empty(0)
        # Written to, and so in memory from the start: what is measured then is what the ring takes.
        self._buffers = [example.detach().new_zeros(self.layout.size) for _ in range(versions)]
        views = self.views(self._buffers[0])
        if views:
            torch._foreach_copy_(views, [parameter.detach() for parameter in parameters])
        self._modules = [_with_parameters(module, self.views(buffer)) for buffer in self._buffers]
        self._parameters = [list(copy.parameters()) for copy in self._modules]
        self.gradient = torch.zeros_like(self._buffers[0])
        self._gradients = self.views(self.gradient)
        self.version = 0
        """The number of updates made so far."""

    def views(self, flat: Tensor) -> list[Tensor]:
        """A flat buffer, seen as the module's parameters."""
        return self.layout.views(flat)

    @property
    def kept(self) -> int:
        """The number of versions that there is memory for."""
        return len(self._buffers)

    @property
    def _slot(self) -> int:
        return self.version % len(self._buffers)

    @property
    def current(self) -> Tensor:
        """The newest version, flat."""
        return self._buffers[self._slot]

    @property
    def module(self) -> nn.Module:
        """The module at the newest version."""
        return self._modules[self._slot]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The newest version's parameters."""
        return self._parameters[self._slot]

    def shadow(self) -> nn.Module:
        """The module of a ring of one, with statistics of its own for forward passes that do not count."""
        return _with_parameters(self._modules[0], self._parameters[0], share_buffers=False)

    def collect(self, gradients: Sequence[Tensor]) -> None:
        """Copy the parameters' gradients into :attr:`gradient`."""
        if self._gradients:
            torch._foreach_copy_(self._gradients, list(gradients))

    def advance(self) -> Tensor:
        """Begin the next version as a copy of the newest, and return its buffer, to be updated in place."""
        previous = self.current
        self.version += 1
        if len(self._buffers) == 1:
            return previous.data
        return self.current.copy_(previous)

    def state(self) -> dict[str, Any]:
        """The newest version and the statistics: at a flush point no graph wants an older one."""
        return {"version": self.version, "current": self.current, "statistics": dict(self.module.named_buffers())}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self.version = state["version"]
        self.current.copy_(state["current"])
        for name, buffer in self.module.named_buffers():
            buffer.copy_(state["statistics"][name])


def _with_parameters(module: nn.Module, views: Sequence[Tensor], share_buffers: bool = True) -> nn.Module:
    """A copy of a module with other tensors as its parameters."""
    memo: dict[int, object] = {id(buffer): buffer for buffer in module.buffers()} if share_buffers else {}
    for parameter, view in zip(module.parameters(), views, strict=True):
        memo[id(parameter)] = view if isinstance(view, nn.Parameter) else nn.Parameter(view)
    return copy.deepcopy(module, memo)
