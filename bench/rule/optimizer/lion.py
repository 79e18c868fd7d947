"""``optimizer=lion``: the sign of a mean gradient (Chen et al. 2023, arXiv 2302.06675, algorithm 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from bench.choice import Number
from bench.keys import Fraction, NonNegative
from bench.rule.optimizer.contract import Flat
from bench.rule.optimizer.decay import Decaying, shrink
from bench.rule.optimizer.layout import FlatLayout

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class Lion(Decaying):
    """Steps of one size in every weight, by the sign of a mean gradient that leans to the newest one."""

    name: ClassVar[str] = "lion"
    place: ClassVar[int] = 4
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)]
    """Shares of the mean gradient in what is stepped by, and that stay at an update."""
    weight_decay: NonNegative
    """Share of the rate by which weights shrink at an update."""

    def search(self, number: Number) -> dict[str, Any]:
        return {"betas": [number("momentum"), self.betas[1]], "weight_decay": number("weight_decay", log=True)}

    def by_parameter(self, parameters: Sequence[nn.Parameter], layout: FlatLayout) -> torch.optim.Optimizer:  # noqa: ARG002
        from bench.rule.by_parameter import LionByParameter

        return LionByParameter(self.groups(parameters), self.betas)

    def flat(self, like: Tensor, layout: FlatLayout) -> Flat:
        return FlatLion(self, like, layout)


class FlatLion(Flat):
    """One kernel for all weights."""

    states = begun = 1
    scratch = 1  # the signs

    def __init__(self, keys: Lion, like: Tensor, layout: FlatLayout) -> None:
        import torch

        self._keys, self._shrunk = keys, keys.shrinking(layout)
        self._mean = torch.zeros_like(like)

    def step(self, weights: Tensor, gradient: Tensor, rate: float) -> None:
        leaning, staying = self._keys.betas
        shrink(weights, self._shrunk, rate * self._keys.weight_decay)
        weights.sub_(self._mean.lerp(gradient, 1 - leaning).sign_(), alpha=rate)
        self._mean.lerp_(gradient, 1 - staying)

    def state(self) -> dict[str, Any]:
        return {"mean": self._mean}

    def load(self, state: dict[str, Any]) -> None:
        self._mean.copy_(state["mean"])
