"""``optimizer=nadamw``: AdamW that looks ahead along its mean gradient (Dozat 2016), with AdamW's decay.

AsyncPP (arXiv 2505.01099) trains with it for stale gradients, in its code at a first beta of 0.99 and a
``momentum_decay`` of 0.004.
"""

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
class NAdamW(Decaying):
    """Steps of AdamW whose mean gradient is that of the next update (Nesterov's momentum)."""

    name: ClassVar[str] = "nadamw"
    place: ClassVar[int] = 3
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)]
    """Shares of the mean gradient, and of the mean square, that stay at an update."""
    eps: Positive
    """What is added to the root of the mean square."""
    weight_decay: NonNegative
    """Share of the rate by which weights shrink at an update."""
    momentum_decay: NonNegative
    """How soon the look ahead grows from half of the first beta to all of it: by 1 - 0.96^(t momentum_decay) / 2."""

    def search(self, number: Number) -> dict[str, Any]:
        return {"betas": [number("momentum"), self.betas[1]], "weight_decay": number("weight_decay", log=True)}

    def by_parameter(self, parameters: Sequence[nn.Parameter], layout: FlatLayout) -> torch.optim.Optimizer:  # noqa: ARG002
        from bench.rule.by_parameter import NAdamByParameter

        first, second = self.betas
        return NAdamByParameter(
            self.groups(parameters),
            lr=0.0,
            betas=(first, second),
            eps=self.eps,
            momentum_decay=self.momentum_decay,
            decoupled_weight_decay=True,
            foreach=False,
        )

    def flat(self, like: Tensor, layout: FlatLayout) -> Flat:
        return FlatNAdamW(self, like, layout)


class FlatNAdamW(Flat):
    """torch's own step as a function: the class keeps its weights in one place, and imports torch's compiler."""

    states = begun = 2
    scratch = 2  # the denominator, and what that is made of

    def __init__(self, keys: NAdamW, like: Tensor, layout: FlatLayout) -> None:
        import torch
        from torch.optim.nadam import nadam

        self._keys, self._nadam, self._shrunk = keys, nadam, keys.shrunk(layout)
        self._first, self._second = torch.zeros_like(like), torch.zeros_like(like)
        self._steps, self._product = torch.tensor(0.0), torch.tensor(1.0)

    def step(self, weights: Tensor, gradient: Tensor, rate: float) -> None:
        beta1, beta2 = self._keys.betas
        shrink(weights, self._shrunk, rate * self._keys.weight_decay)
        self._nadam(
            [weights],
            [gradient],
            [self._first],
            [self._second],
            [self._product],
            [self._steps],
            decoupled_weight_decay=True,
            foreach=False,
            beta1=beta1,
            beta2=beta2,
            lr=rate,
            weight_decay=self._keys.decay_of_all,
            momentum_decay=self._keys.momentum_decay,
            eps=self._keys.eps,
        )

    def state(self) -> dict[str, Any]:
        return {"first": self._first, "second": self._second, "steps": self._steps, "product": self._product}

    def load(self, state: dict[str, Any]) -> None:
        for name, own in self.state().items():
            own.copy_(state[name])
