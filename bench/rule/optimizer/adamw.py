"""``optimizer=adamw``: Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv 1711.05101)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from bench.choice import Number
from bench.keys import Fraction, NonNegative, Positive
from bench.rule.optimizer.contract import Flat
from bench.rule.optimizer.decay import Decaying, shrink
from bench.rule.optimizer.layout import FlatLayout

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class AdamW(Decaying):
    """Steps of a mean gradient over the root of a mean square, and a decay of the weights beside them."""

    name: ClassVar[str] = "adamw"
    place: ClassVar[int] = 2
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)]
    """Shares of the mean gradient, and of the mean square, that stay at an update."""
    eps: Positive
    """What is added to the root of the mean square."""
    weight_decay: NonNegative
    """Share of the rate by which weights shrink at an update."""

    def search(self, number: Number) -> dict[str, Any]:
        return {"betas": [number("momentum"), self.betas[1]], "weight_decay": number("weight_decay", log=True)}

    def by_parameter(self, parameters: Sequence[nn.Parameter], layout: FlatLayout) -> torch.optim.Optimizer:  # noqa: ARG002
        import torch

        first, second = self.betas
        return torch.optim.AdamW(self.groups(parameters), lr=0.0, betas=(first, second), eps=self.eps, foreach=False)

    def flat(self, like: Tensor, layout: FlatLayout) -> Flat:
        return FlatAdamW(self, like, layout)


class FlatAdamW(Flat):
    """torch's own step as a function: the class keeps its weights in one place, and imports torch's compiler."""

    states = begun = 2
    scratch = 2  # the denominator, and what that is made of

    def __init__(self, keys: AdamW, like: Tensor, layout: FlatLayout) -> None:
        import torch
        from torch.optim.adamw import adamw

        self._keys, self._adamw, self._shrunk = keys, adamw, keys.shrunk(layout)
        self._first, self._second = torch.zeros_like(like), torch.zeros_like(like)
        self._steps = torch.tensor(0.0)

    def step(self, weights: Tensor, gradient: Tensor, rate: float) -> None:
        beta1, beta2 = self._keys.betas
        shrink(weights, self._shrunk, rate * self._keys.weight_decay)
        self._adamw(
            [weights],
            [gradient],
            [self._first],
            [self._second],
            [],
            [self._steps],
            foreach=False,
            fused=False,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=rate,
            weight_decay=self._keys.decay_of_all,
            eps=self._keys.eps,
            maximize=False,
        )

    def state(self) -> dict[str, Any]:
        return {"first": self._first, "second": self._second, "steps": self._steps}

    def load(self, state: dict[str, Any]) -> None:
        for name, own in self.state().items():
            own.copy_(state[name])
