"""How the replicas' copies of a stage agree, and what else is done before an update, for the oracle."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.engine.method.part import Part
from bench.rule.clip.contract import Clip


def hand_out(parts: Sequence[Part], batch: int, averaged: bool) -> None:
    """Give a stage's copies the gradients of ``batch`` to step by: each its own, or all of them their mean."""
    gradients = [part.gradients.pop(batch) for part in parts]
    if averaged and len(parts) > 1:
        gradients = [[mean_of(copies) for copies in zip(*gradients, strict=True)]] * len(parts)
    for part, gradient in zip(parts, gradients, strict=True):
        part.take(gradient)


@torch.no_grad()
def clip(choice: Clip, parts: Sequence[Part]) -> None:
    """Clip the gradients of a replica's stages that update now: one by one, or all stages' as one gradient."""
    if not choice.acts:
        return
    for part in parts:
        for parameter in part.parameters.values():
            if parameter.grad is not None:
                # Replicas share their mean; and numbers are added as they lie, here as the weights do.
                parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)
    for joint in [parts] if choice.spans_stages else [[part] for part in parts]:
        if parameters := [parameter for part in joint for parameter in part.parameters.values()]:
            choice.by_parameter(parameters)


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
