"""What each layer of a network costs, and what it hands on: measured once, by one rank, and shared."""

from __future__ import annotations

import copy
import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.engine.channels import Message
from bench.engine.numerics import Numerics

REPEATS = 3


@dataclass(frozen=True)
class Layer:
    """One entry of the flat network."""

    output: Message
    cost: float
    """Seconds of forward and backward (median), or operations; 0 where nobody asked."""


def profile(network: nn.Sequential, images: Tensor, numerics: Numerics, how: str) -> list[Layer]:
    """Walk through the network with one batch.

    Args:
        images: [batch, channels, height, width], placed.
        how: ``measured`` (seconds), ``counted`` (operations), or anything else for the messages alone.
    """
    network = copy.deepcopy(network).train()
    layers = []
    x = images.detach()
    for number, layer in enumerate(network):
        x.requires_grad_(number > 0)
        output = numerics.apply(layer, x)
        cost = 0.0
        if how == "measured":
            cost = statistics.median(_seconds(layer, x, numerics) for _ in range(REPEATS))
        elif how == "counted":
            cost = float(_operations(layer, x, numerics))
        x = output.detach()
        layers.append(Layer(Message.like(x), cost))
    return layers


def _seconds(layer: nn.Module, x: Tensor, numerics: Numerics) -> float:
    _synchronize(numerics.device)
    start = time.perf_counter()
    _pass(layer, x, numerics)
    _synchronize(numerics.device)
    return time.perf_counter() - start


def _operations(layer: nn.Module, x: Tensor, numerics: Numerics) -> int:
    """Operations of matrix products and convolutions, and one for each number handed on, forward and backward.

    A backward has a product for each product of its forward and factor: the weights, and the input unless it is data.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = numerics.apply(layer, x.detach())  # a view of a leaf under no_grad breaks the counter
    return int(counter.get_total_flops() + output.numel()) * (3 if x.requires_grad else 2)


def _pass(layer: nn.Module, x: Tensor, numerics: Numerics) -> None:
    """Forward and backward of one layer."""
    output = numerics.apply(layer, x)
    sources = [*layer.parameters(), *([x] if x.requires_grad else [])]
    if sources:
        torch.autograd.grad(output, sources, torch.ones_like(output))


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
