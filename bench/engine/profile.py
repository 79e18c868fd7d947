"""What each layer of a network costs, and what it hands on: measured once, by one rank, and shared."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.engine.message import Message
from bench.engine.numerics import Numerics
from bench.plan.memory import LayerBytes
from bench.task.tensors import Tensors, detached, every, together

REPEATS = 6


@dataclass(frozen=True)
class Layer:
    """One entry of the flat network."""

    output: Message
    forward: float
    """Seconds, the least of several passes, as what else the machine does only adds to them; or operations; 0 where
    nobody asked."""
    backward: float
    """The same of its backward."""
    held: LayerBytes = field(default_factory=LayerBytes)
    """Memory that it takes."""

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
    x: Tensors = images.detach()
    for number, layer in enumerate(network):
        for part in every(x):
            part.requires_grad_(number > 0)
        outputs, held = _held(layer, x, numerics)
        forward = backward = 0.0
        if how == "measured":
            passes = [_seconds(layer, x, numerics) for _ in range(REPEATS)]
            forward, backward = map(min, zip(*passes, strict=True))
        elif how == "counted":
            forward, backward = _operations(layer, x, numerics)
        x = detached(together(outputs))
        layers.append(Layer(Message.like(x), forward, backward, held))
    return layers


def _held(layer: nn.Module, x: Tensors, numerics: Numerics) -> tuple[tuple[Tensor, ...], LayerBytes]:
    """Its outputs, and the memory of what stays until its backward."""
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> torch.UntypedStorage:
        # Not the tensor: as an output it would keep the graph that keeps it.
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage
        return storage

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda storage: storage):
        outputs = every(numerics.apply(layer, x))
    for tensor in (*every(x), *outputs):
        keep(tensor)
    for tensor in (*layer.parameters(), *layer.buffers()):
        storages.pop(tensor.untyped_storage().data_ptr(), None)
    largest = max(storage.nbytes() for storage in storages.values())
    for tensor in every(x):
        storages.pop(tensor.untyped_storage().data_ptr())
    saved = sum(storage.nbytes() for storage in storages.values())
    return outputs, LayerBytes(sum(parameter.nbytes for parameter in layer.parameters()), saved, largest)


def _seconds(layer: nn.Module, x: Tensors, numerics: Numerics) -> tuple[float, float]:
    """Of forward and of backward."""
    marks = [now(numerics.device)]
    outputs = every(numerics.apply(layer, x))
    marks.append(now(numerics.device))
    sources = [*layer.parameters(), *(part for part in every(x) if part.requires_grad)]
    incoming = [torch.ones_like(output) for output in outputs]
    marks.append(now(numerics.device))
    if sources:
        torch.autograd.grad(outputs, sources, incoming)
    marks.append(now(numerics.device))
    return marks[1] - marks[0], marks[3] - marks[2]


def _operations(layer: nn.Module, x: Tensors, numerics: Numerics) -> tuple[float, float]:
    """Operations of matrix products and convolutions, and one for each number handed on, forward and backward.

    A backward has a product for each product of its forward and factor: the weights, and the input unless it is data.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        # A view of a leaf under no_grad breaks the counter.
        output = numerics.apply(layer, detached(x))
    forward = float(counter.get_total_flops() + sum(part.numel() for part in every(output)))
    return forward, forward * (2 if every(x)[0].requires_grad else 1)


def now(device: torch.device) -> float:
    """Seconds on the host's clock, when the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
