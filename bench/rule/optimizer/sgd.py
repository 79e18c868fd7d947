"""``optimizer=sgd``: stochastic gradient descent, with momentum as torch has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.choice import Number
from bench.keys import Fraction, NonNegative
from bench.rule.optimizer.contract import Flat
from bench.rule.optimizer.decay import Decaying
from bench.rule.optimizer.layout import FlatLayout
from bench.rule.stability import largest_step

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class SGD(Decaying):
    """Weights follow the gradient, or a velocity that sums gradients up (Sutskever et al. 2013, as torch has it)."""

    name: ClassVar[str] = "sgd"
    place: ClassVar[int] = 1
    momentum: Fraction
    """Share of the velocity that stays at an update."""
    weight_decay: NonNegative
    """Share of the weights that is added to their gradient."""
    nesterov: bool
    """Look ahead along the velocity (Nesterov 1983)."""

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError(f"nesterov={self.nesterov} needs momentum above 0, not momentum={self.momentum}")

    @property
    def has_velocity(self) -> bool:
        return self.momentum > 0

    def largest_step(self, delay: int) -> float:
        return largest_step(self.momentum, delay, self.nesterov)

    def outside(self, run: Any) -> str | None:  # noqa: ARG002
        return f"has momentum={self.momentum:g}" if self.momentum else None

    def search(self, number: Number) -> dict[str, Any]:
        return {"momentum": number("momentum"), "weight_decay": number("weight_decay", log=True)}

    def by_parameter(self, parameters: Sequence[nn.Parameter], layout: FlatLayout) -> torch.optim.Optimizer:  # noqa: ARG002
        import torch

        return torch.optim.SGD(
            self.groups(parameters), lr=0.0, foreach=False, momentum=self.momentum, nesterov=self.nesterov
        )

    def flat(self, like: Tensor, layout: FlatLayout) -> Flat:  # noqa: ARG002  (the first update makes the velocity)
        return FlatSGD(self, layout)


class FlatSGD(Flat):
    """torch's own step as a function: the class keeps its weights in one place, and imports torch's compiler."""

    def __init__(self, keys: SGD, layout: FlatLayout) -> None:
        from torch.optim.sgd import sgd

        self._keys, self._sgd, self._shrunk = keys, sgd, keys.shrunk(layout)
        self._momentum: list[Tensor | None] = [None]
        self.states = 1 if keys.momentum else 0
        # The gradient with its decay, and with Nesterov's look ahead.
        self.scratch = (1 if keys.decay_of_all else 0) + (1 if keys.nesterov else 0)

    @property
    def velocity(self) -> Tensor | None:
        return self._momentum[0]

    def step(self, weights: Tensor, gradient: Tensor, rate: float) -> None:
        for span in self._shrunk:
            gradient[span].add_(weights[span], alpha=self._keys.weight_decay)
        self._sgd(
            [weights],
            [gradient],
            self._momentum,
            foreach=False,
            fused=False,
            weight_decay=self._keys.decay_of_all,
            momentum=self._keys.momentum,
            lr=rate,
            dampening=0.0,
            nesterov=self._keys.nesterov,
            maximize=False,
        )

    def state(self) -> dict[str, Any]:
        return {"momentum": self._momentum[0]}

    def load(self, state: dict[str, Any]) -> None:
        self._momentum[0] = state["momentum"]
