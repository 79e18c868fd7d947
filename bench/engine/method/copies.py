"""How the replicas' copies of a stage agree, for the oracle."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.engine.method.part import Part


@torch.no_grad()
def mix(parts: Sequence[Part], mixing: Sequence[Sequence[float]]) -> None:
    """Replace each copy's weights by a mixture of all copies' weights.

    Args:
        mixing: row by row, the shares that a copy's mixture has of each.
    """
    for name in parts[0].parameters:
        old = [part.parameters[name].clone() for part in parts]
        for part, row in zip(parts, mixing, strict=True):
            new = torch.zeros_like(old[0])
            for weights, share in zip(old, row, strict=True):
                new = torch.add(new, weights, alpha=share)
            part.parameters[name].copy_(new)


def mean_of(copies: Sequence[Tensor]) -> Tensor:
    """The mean of tensors, added in the order of the replicas."""
    return sum(copies[1:], start=copies[0]) / len(copies)


def fill(copies: Sequence[Tensor], value: Tensor) -> None:
    """Give all copies one value."""
    for copy in copies:
        copy.copy_(value)
