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
    forward: float
    """Seconds (median), or operations; 0 where nobody asked."""
    backward: float
    """The same of its backward."""

    @property
    def cost(self) -> float:
        """Of both."""
        return self.forward + self.backward


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
        forward = backward = 0.0
        if how == "measured":
            passes = [_seconds(layer, x, numerics) for _ in range(REPEATS)]
            forward, backward = (statistics.median(seconds) for seconds in zip(*passes, strict=True))
        elif how == "counted":
            forward, backward = _operations(layer, x, numerics)
        x = output.detach()
        layers.append(Layer(Message.like(x), forward, backward))
    return layers


def _seconds(layer: nn.Module, x: Tensor, numerics: Numerics) -> tuple[float, float]:
    """Of forward and of backward."""
    marks = [now(numerics.device)]
    output = numerics.apply(layer, x)
    marks.append(now(numerics.device))
    sources = [*layer.parameters(), *([x] if x.requires_grad else [])]
    if sources:
        torch.autograd.grad(output, sources, torch.ones_like(output))
    marks.append(now(numerics.device))
    return marks[1] - marks[0], marks[2] - marks[1]


def _operations(layer: nn.Module, x: Tensor, numerics: Numerics) -> tuple[float, float]:
    """Operations of matrix products and convolutions, and one for each number handed on, forward and backward.

    A backward has a product for each product of its forward and factor: the weights, and the input unless it is data.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = numerics.apply(layer, x.detach())  # a view of a leaf under no_grad breaks the counter
    forward = float(counter.get_total_flops() + output.numel())
    return forward, forward * (2 if x.requires_grad else 1)


def now(device: torch.device) -> float:
    """Seconds on the host's clock, when the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
