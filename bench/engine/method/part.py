"""Stage k of one replica, for the oracle, and what it hands on to the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.rule.optimizer.contract import Optimizer, set_rate
from bench.rule.optimizer.layout import FlatLayout
from bench.task.tensors import Tensors, every, together

Weights = dict[str, Tensor]
Gradients = list[Tensor]
Pullback = Callable[[Gradients | None], tuple[Gradients, Gradients]]
"""Maps the gradient of a stage's output (None: of the loss) to those of its weights and its input."""


class Part:
    """Stage k of one replica: its weights, and the gradients that wait for their tick.

    Args:
        delay: how many updates old its gradients are in a full pipeline.
    """

    def __init__(self, module: nn.Module, choice: Optimizer, delay: int) -> None:
        self.module = module.train()
        self.parameters: dict[str, nn.Parameter] = dict(module.named_parameters())
        self.optimizer = choice.by_parameter(list(self.parameters.values()), FlatLayout.of(module, delay))
        self.updates = 0
        self.before: dict[int, Weights] = {}
        """Weights of each batch's forward, until its loss is there."""
        self.gradients: dict[int, Gradients] = {}
        """Gradient of each batch's loss by this stage's weights."""
        self.seen: dict[int, int] = {}
        """Updates that the weights of each batch's forward had seen."""
        self.outputs: dict[int, Tensors] = {}
        self.pullbacks: dict[int, Pullback] = {}
        self.returned: dict[int, Gradients] = {}
        """Gradient of each batch's loss by this stage's input."""
        self.staleness: Counter[int] = Counter()

    def weights(self, extrapolation: float = 0.0) -> Weights:
        """The current weights, as leaves of a new graph; or those so far along the velocity from them."""
        weights = {name: parameter.detach() for name, parameter in self.parameters.items()}
        if extrapolation:
            state = self.optimizer.state
            velocities = {name: state[p].get("momentum_buffer") for name, p in self.parameters.items()}
            weights |= {
                name: torch.add(weights[name], velocity, alpha=-extrapolation)
                for name, velocity in velocities.items()
                if velocity is not None
            }
        return {name: weight.requires_grad_() for name, weight in weights.items()}

    def remember(self, batch: int, extrapolation: float, updated: bool) -> None:
        """Keep the weights of the forward of ``batch``; ``updated`` says whether the stage's own change meanwhile."""
        weights = self.weights(extrapolation)
        if updated:
            weights = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
        self.before[batch] = weights

    def take(self, gradients: Gradients) -> None:
        """Have these gradients for the next step."""
        for parameter, gradient in zip(self.parameters.values(), gradients, strict=True):
            parameter.grad = gradient

    def step(self, batch: int, rate: float) -> None:
        """Step by the gradients that it has, which are those of ``batch``."""
        set_rate(self.optimizer, rate)
        self.optimizer.step()
        self.staleness[self.updates - self.seen.pop(batch)] += 1
        self.updates += 1

    def state(self) -> dict[str, Any]:
        """What its training from a flush point on depends on: nothing waits for its tick there."""
        return {
            "tensors": {name: tensor.detach() for name, tensor in self._tensors()},
            "optimizer": self.optimizer.state_dict(),
            "updates": self.updates,
            "staleness": dict(self.staleness),
        }

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        for name, tensor in self._tensors():
            tensor.copy_(state["tensors"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates, self.staleness = state["updates"], Counter(state["staleness"])

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.module.named_parameters()
        yield from self.module.named_buffers()


def bound(module: nn.Module, tensors: Weights) -> Callable[[Tensors], Tensors]:
    """The module as a function of its input, with other tensors in the place of its own."""

    def call(x: Tensors) -> Tensors:
        output: Tensors = functional_call(module, tensors, (x,))
        return output

    return call


def by_name(part: Part, weights: Weights) -> tuple[Callable[[Tensor], object], Callable[[object], Tensor]]:
    """Make hooks that save a weight by its name, and load what the stage's weights are by then."""
    names = {weight.untyped_storage().data_ptr(): name for name, weight in weights.items()}

    def save(tensor: Tensor) -> object:
        name = names.get(tensor.untyped_storage().data_ptr())
        return tensor if name is None else (name, tensor.shape, tensor.stride(), tensor.storage_offset())

    def load(saved: object) -> Tensor:
        if isinstance(saved, Tensor):
            return saved
        assert isinstance(saved, tuple)
        name, shape, stride, offset = saved
        return part.parameters[name].detach().as_strided(shape, stride, offset)

    return save, load


def split(gradients: tuple[Tensor, ...], weights: int) -> tuple[Gradients, Gradients]:
    return list(gradients[:weights]), list(gradients[weights:])


def handed_on(x: Tensors, shrinkage: float) -> Tensors:
    """What one stage gives the next: the same, with gradients that shrink by a factor on their way back."""
    if shrinkage == 1:
        return x
    # Views, as what is handed on may be used in its own stage too, where its gradient does not shrink.
    parts = [part.view_as(part) for part in every(x)]
    for part in parts:
        part.register_hook(lambda gradient: gradient * shrinkage)  # type: ignore[no-untyped-call]
    return together(parts)


def shrunk(gradients: Gradients, shrinkage: float) -> Gradients:
    """Shrink the gradients that a stage gets from the next one."""
    return gradients if shrinkage == 1 else [gradient * shrinkage for gradient in gradients]
