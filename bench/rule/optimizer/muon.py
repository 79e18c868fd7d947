"""``optimizer=muon``: momentum made orthogonal, as torch has it (Jordan et al. 2024, "Muon: An optimizer for hidden
layers in neural networks").

The matrices between the first and the last layer of the network are its; embeddings, the last layer, convolutions,
biases and scales take AdamW's steps, as its authors have it. Its steps are made as long as AdamW's (Liu et al. 2025,
arXiv 2502.16982), so that both take one rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from bench.choice import Number
from bench.keys import Count, Fraction, NonNegative, Positive
from bench.rule.optimizer.adamw import AdamW
from bench.rule.optimizer.contract import Flat
from bench.rule.optimizer.decay import Decaying
from bench.rule.optimizer.layout import FlatLayout, FlatPlace, copy_of, view_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

LENGTH = "match_rms_adamw"
"""torch's word for steps as long as AdamW's."""


@dataclass(frozen=True)
class Muon(Decaying):
    """Steps of an orthogonalised mean gradient for the hidden matrices, and AdamW's for the others."""

    name: ClassVar[str] = "muon"
    place: ClassVar[int] = 5
    momentum: Fraction
    """Share of the mean gradient that stays at an update."""
    nesterov: bool
    """Look ahead along the mean gradient."""
    ns_steps: Annotated[Count, Field(lt=100)]
    """Newton and Schulz's iterations that an orthogonalisation takes."""
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)]
    """AdamW's shares of the mean gradient, and of the mean square, that stay at an update."""
    eps: Positive
    """What AdamW adds to the root of the mean square."""
    weight_decay: NonNegative
    """Share of the rate by which weights shrink at an update."""

    def search(self, number: Number) -> dict[str, Any]:
        return {"momentum": number("momentum"), "weight_decay": number("weight_decay", log=True)}

    @property
    def rest(self) -> AdamW:
        """What takes the other parameters."""
        return AdamW(betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, decayed=self.decayed)

    def by_parameter(self, parameters: Sequence[nn.Parameter], layout: FlatLayout) -> torch.optim.Optimizer:
        import torch

        from bench.rule.by_parameter import Both

        hidden = [one for one, place in zip(parameters, layout.places, strict=True) if place.hidden]
        others = [one for one, place in zip(parameters, layout.places, strict=True) if not place.hidden]
        found = [self.rest.by_parameter(others, layout)] if others else []
        if hidden:
            keys = {"momentum": self.momentum, "nesterov": self.nesterov, "ns_steps": self.ns_steps}
            muon = torch.optim.Muon(hidden, lr=0.0, weight_decay=self.weight_decay, adjust_lr_fn=LENGTH, **keys)  # type: ignore[arg-type]
            found.insert(0, muon)
        return Both(found)

    def flat(self, like: Tensor, layout: FlatLayout) -> Flat:
        return FlatMuon(self, like, layout)


class FlatMuon(Flat):
    """torch's own step as a function, on copies of the vector's views: where a matrix begins in memory may show in its
    products' last bits."""

    scratch = 2  # those of the others, or those of the largest matrix

    def __init__(self, keys: Muon, like: Tensor, layout: FlatLayout) -> None:
        import torch
        from torch.optim._muon import DEFAULT_A, DEFAULT_B, DEFAULT_C, EPS, muon

        self._keys, self._muon = keys, muon
        self._coefficients, self._eps = (DEFAULT_A, DEFAULT_B, DEFAULT_C), EPS
        self._hidden = [place for place in layout.places if place.hidden]
        self._means = [torch.zeros(place.shape, dtype=like.dtype, device=like.device) for place in self._hidden]
        others = [place for place in layout.places if not place.hidden]
        self._spans = layout.spans(lambda place: not place.hidden)
        packed = packed_layout(others)
        self._rest = keys.rest.flat(like.new_zeros(packed.size), packed)
        own = sum(mean.numel() for mean in self._means)
        self.states = self.begun = (own + 2 * packed.size) / max(1, layout.size)

    def step(self, weights: Tensor, gradient: Tensor, rate: float) -> None:
        import torch

        for place, mean in zip(self._hidden, self._means, strict=True):
            own = copy_of(weights, place)
            self._muon(
                [own],
                [copy_of(gradient, place)],
                [mean],
                lr=rate,
                weight_decay=self._keys.weight_decay,
                momentum=self._keys.momentum,
                nesterov=self._keys.nesterov,
                ns_steps=self._keys.ns_steps,
                adjust_lr_fn=LENGTH,
                has_complex=False,
                ns_coefficients=self._coefficients,
                eps=self._eps,
            )
            view_of(weights, place).copy_(own)
        if self._spans:
            rest = torch.cat([weights[span] for span in self._spans])
            self._rest.step(rest, torch.cat([gradient[span] for span in self._spans]), rate)
            sizes = [span.stop - span.start for span in self._spans]
            for span, part in zip(self._spans, torch.split(rest, sizes), strict=True):
                weights[span].copy_(part)

    def state(self) -> dict[str, Any]:
        return {"means": self._means, "rest": self._rest.state()}

    def load(self, state: dict[str, Any]) -> None:
        for own, mean in zip(self._means, state["means"], strict=True):
            own.copy_(mean)
        self._rest.load(state["rest"])


def packed_layout(places: Sequence[FlatPlace]) -> FlatLayout:
    """The layout of some parameters that are moved together."""
    packed: list[FlatPlace] = []
    for place in places:
        packed.append(place._replace(start=packed[-1].stop if packed else 0))
    return FlatLayout(tuple(packed))
