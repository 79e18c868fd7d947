"""``optimizer=soap``: Adam in the eigenbases of Shampoo's statistics (Vyas et al. 2024, arXiv 2409.11321, algorithm 3).

Basis rotation (arXiv 2602.03515) turns stale gradients likewise, and refreshes the bases of early stages more often;
how often exactly was not found out: ``refresh_power`` is this suite's own reading.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from bench.choice import Number
from bench.keys import Count, Fraction, NonNegative, Positive
from bench.rule.optimizer.contract import Flat
from bench.rule.optimizer.decay import Decaying, shrink
from bench.rule.optimizer.layout import FlatLayout, FlatPlace, copy_of, view_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class SOAP(Decaying):
    """Adam's steps, in a basis of each dimension of a matrix in which its gradients are nearly uncorrelated."""

    name: ClassVar[str] = "soap"
    place: ClassVar[int] = 6
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)]
    """Shares of the mean gradient, and of the mean square in the bases, that stay at an update."""
    basis_beta: Fraction
    """Share of the gradients' mean products, whose eigenvectors are the bases, that stays at an update."""
    eps: Positive
    """What is added to the root of the mean square."""
    weight_decay: NonNegative
    """Share of the rate by which weights shrink at an update."""
    refresh: Count
    """Updates from one refreshing of the bases to the next."""
    refresh_power: NonNegative
    """A stage whose gradients are tau updates old waits for ``refresh / (1 + tau)^power`` updates, and one at least."""
    largest: Count
    """The largest dimension that has a basis."""

    def search(self, number: Number) -> dict[str, Any]:
        return {"betas": [number("momentum"), self.betas[1]], "weight_decay": number("weight_decay", log=True)}

    def interval(self, delay: int) -> int:
        """Return the updates from one refreshing of a stage's bases to the next."""
        return max(1, round(self.refresh / math.pow(1 + delay, self.refresh_power)))

    def by_parameter(self, parameters: Sequence[nn.Parameter], layout: FlatLayout) -> torch.optim.Optimizer:
        from bench.rule.by_parameter import SOAPByParameter

        return SOAPByParameter(
            self.groups(parameters), self.betas, self.basis_beta, self.eps, self.interval(layout.delay), self.largest
        )

    def flat(self, like: Tensor, layout: FlatLayout) -> Flat:
        return FlatSOAP(self, like, layout)


class FlatSOAP(Flat):
    """Each parameter for itself, on copies of the vector's views: where a matrix begins in memory may show in its
    products' last bits."""

    scratch = 4  # of the largest parameter, at most of all: its gradient, what that is in the bases, and the step

    def __init__(self, keys: SOAP, like: Tensor, layout: FlatLayout) -> None:
        import torch

        self._keys, self._interval = keys, keys.interval(layout.delay)
        self._shrunk = keys.shrinking(layout)
        self._first, self._second = torch.zeros_like(like), torch.zeros_like(like)
        self._bases = [Bases(place, keys, like) for place in layout.places]
        self._steps = 0
        own = sum(2 * mean.numel() for bases in self._bases for mean in bases.means if mean is not None)
        self.states = self.begun = 2 + own / max(1, layout.size)

    def step(self, weights: Tensor, gradient: Tensor, rate: float) -> None:
        beta1, beta2 = self._keys.betas
        steps, self._steps = self._steps, self._steps + 1
        length = rate * (math.sqrt(1 - beta2**steps) / (1 - beta1**steps)) if steps else 0.0
        for bases in self._bases:
            own = copy_of(gradient, bases.place)
            first, second = (view_of(vector, bases.place) for vector in (self._first, self._second))
            if steps:
                first.lerp_(own, 1 - beta1)
                second.lerp_(bases.into(own).square(), 1 - beta2)
                change = bases.into(copy_of(self._first, bases.place)) / second.sqrt().add_(self._keys.eps)
                view_of(weights, bases.place).sub_(bases.back(change), alpha=length)
            bases.learn(own)
            if steps and steps % self._interval == 0:
                second.copy_(bases.refresh(second.clone()))
        if steps:
            shrink(weights, self._shrunk, rate * self._keys.weight_decay)

    def state(self) -> dict[str, Any]:
        bases = [{"means": bases.means, "vectors": bases.vectors} for bases in self._bases]
        return {"first": self._first, "second": self._second, "steps": self._steps, "bases": bases}

    def load(self, state: dict[str, Any]) -> None:
        self._first.copy_(state["first"])
        self._second.copy_(state["second"])
        self._steps = state["steps"]
        for own, kept in zip(self._bases, state["bases"], strict=True):
            own.means, own.vectors = list(kept["means"]), list(kept["vectors"])


class Bases:
    """The bases of one parameter's dimensions; those that are too large, and a bias, have none."""

    def __init__(self, place: FlatPlace, keys: SOAP, like: Tensor) -> None:
        self.place, self._share = place, 1 - keys.basis_beta
        sizes = [size if place.has_columns and size <= keys.largest else None for size in place.shape]
        self.means: list[Tensor | None] = [None if size is None else like.new_zeros(size, size) for size in sizes]
        """The mean products [size, size] of each dimension."""
        self.vectors: list[Tensor | None] = [None for _ in sizes]
        """The bases [size, size], by column; none before the first gradient."""

    def into(self, tensor: Tensor) -> Tensor:
        """The tensor in the bases."""
        return self._turned(tensor, 0)

    def back(self, tensor: Tensor) -> Tensor:
        """The inverse of :meth:`into`."""
        return self._turned(tensor, 1)

    def _turned(self, tensor: Tensor, side: int) -> Tensor:
        import torch

        for vectors in self.vectors:
            # The first dimension goes to the end, so that after all of them each is where it was.
            tensor = tensor.movedim(0, -1) if vectors is None else torch.tensordot(tensor, vectors, ([0], [side]))
        return tensor

    def learn(self, gradient: Tensor) -> None:
        """Take a gradient into the mean products; the first one also gives the bases."""
        import torch

        for number, mean in enumerate(self.means):
            if mean is not None:
                others = [other for other in range(gradient.ndim) if other != number]
                mean.lerp_(torch.tensordot(gradient, gradient, dims=(others, others)), self._share)
                if self.vectors[number] is None:
                    barely = 1e-30 * torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
                    self.vectors[number] = torch.linalg.eigh(mean + barely).eigenvectors.flip(1)

    def refresh(self, second: Tensor) -> Tensor:
        """Turn the bases by one round of power iteration; return the mean square with its order as theirs."""
        import torch

        for number, (mean, vectors) in enumerate(zip(self.means, self.vectors, strict=True)):
            if mean is not None and vectors is not None:
                product = mean @ vectors
                order = (vectors * product).sum(0).argsort(descending=True)
                second = second.index_select(number, order)
                # No less than float32, and no more: so does the class of pytorch_optimizer that the tests compare with.
                turned = torch.linalg.qr(product.index_select(1, order).float()).Q
                self.vectors[number] = turned.to(mean.dtype)
        return second
