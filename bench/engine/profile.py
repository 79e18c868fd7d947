"""What each layer of a network costs, and what it hands on: measured once, by one rank, and shared."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.engine.numerics import Numerics
from bench.engine.transport.message import Message
from bench.plan.footprint import LayerBytes
from bench.task.build import own_parameters
from bench.task.tensors import Tensors, detached, every, together

REPEATS = 6


@dataclass(frozen=True)
class Layer:
    """One entry of the flat network."""

    output: Message
    forward: float
    """Seconds of its forward, the least of several passes, as what else the machine does only adds to them; or
    operations; 0 where nobody asked."""
    backward: float
    """Seconds, or operations, of its backward."""
    held: LayerBytes = field(default_factory=LayerBytes)
    """Bytes that it takes of memory."""

    @property
    def cost(self) -> float:
        """Seconds, or operations, of forward and backward together."""
        return self.forward + self.backward


def profile(network: nn.Sequential, inputs: Tensor, targets: Tensor, numerics: Numerics, how: str) -> list[Layer]:
    """Walk through the network with one batch.

    Args:
        inputs, targets: a batch, placed.
        how: ``measured`` (seconds), ``counted`` (operations), or anything else for the messages alone.
    """
    network = copy.deepcopy(network).train()
    layers = []
    x: Tensors = inputs.detach()
    for number, (layer, own) in enumerate(own_parameters(network)):
        for part in every(x):
            part.requires_grad_(number > 0)
        outputs, held = _held(layer, x, numerics)
        costs = _operations(layer, x, numerics) if how == "counted" else (0.0, 0.0)
        x = detached(together(outputs))
        held = held._replace(parameters=sum(parameter.nbytes for parameter in own))
        layers.append(Layer(Message.like(x), *costs, held))
    if how != "measured":
        return layers
    seconds = zip(*_seconds(network, inputs, targets, numerics), strict=True)
    return [
        replace(layer, forward=forward, backward=backward)
        for layer, (forward, backward) in zip(layers, seconds, strict=True)
    ]


def _held(layer: nn.Module, x: Tensors, numerics: Numerics) -> tuple[tuple[Tensor, ...], LayerBytes]:
    """A layer's outputs, and the bytes of what stays until its backward, its weights apart."""
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
    return outputs, LayerBytes(saved=saved, largest=largest)


def _seconds(network: nn.Sequential, inputs: Tensor, targets: Tensor, numerics: Numerics) -> Iterator[list[float]]:
    """Yield each layer's seconds of forward, then of backward: the least of some passes through all layers."""
    parameters = list(network.parameters())
    passes = []
    for _ in range(REPEATS):
        row = Row(network, inputs, targets, numerics)
        passes.append((row.forward, row.backward(parameters)[0]))
    for direction in zip(*passes, strict=True):
        yield [min(times) for times in zip(*direction, strict=True)]


class Row:
    """One batch's way through layers in a row, timed layer by layer: forward when it is made, backward when asked.

    As in training: a layer's caches, and the layout of the gradient that reaches it, depend on the layers beside it. A
    layer's backward begins where the gradient of its output is there.

    Args:
        x: inputs, or what the layer before the first one hands on; parts that require a gradient get one.
        targets: None where the network goes on; the gradient of what it takes is made up.
    """

    def __init__(self, layers: Iterable[nn.Module], x: Tensors, targets: Tensor | None, numerics: Numerics) -> None:
        device = self._device = numerics.device
        self._inputs = [part for part in every(x) if part.requires_grad]
        output: Any = x
        marks = [now(device)]
        self._arrived: dict[int, float] = {}
        for number, layer in enumerate(layers):
            output = numerics.apply(layer, output)
            # The first is what the layer has computed; a shortcut beside it may be its input.
            if every(output)[0].requires_grad:
                every(output)[0].register_hook(partial(_note, self._arrived, number, device))  # type: ignore[no-untyped-call]
            marks.append(now(device))
        if targets is not None:
            output = numerics.loss(output, targets)
            marks[-1] = now(device)
        self._outputs = [part for part in every(output) if part.requires_grad]
        self._incoming = [torch.ones_like(part) for part in self._outputs]
        self.forward = [after - before for before, after in pairwise(marks)]
        """Seconds of each layer's forward; the last one's with the loss."""

    def backward(self, parameters: Sequence[Tensor]) -> tuple[list[float], tuple[Tensor, ...]]:
        """Go backward; return each layer's seconds, the last one's with the loss, and the parameters' gradients."""
        start = now(self._device)
        gradients = torch.autograd.grad(self._outputs, [*parameters, *self._inputs], self._incoming)
        end = now(self._device)
        ends = [end, *(self._arrived.get(number, end) for number in range(len(self.forward) - 1)), start]
        return [end - start for end, start in pairwise(ends)], gradients[: len(parameters)]


def _note(arrived: dict[int, float], number: int, device: torch.device, gradient: Tensor) -> None:  # noqa: ARG001
    """Note when the gradient of a layer's output is there."""
    arrived[number] = now(device)


def _operations(layer: nn.Module, x: Tensors, numerics: Numerics) -> tuple[float, float]:
    """Count the operations of matrix products and convolutions, forward and backward; norms and activations have none.

    Attention is counted as the two products that it is, whatever kernel the device has for it. A backward has a product
    for each product of its forward and factor: the weights, and the input unless it is data.
    """
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        # A view of a leaf under no_grad breaks the counter.
        numerics.apply(layer, detached(x))
    forward = float(counter.get_total_flops())
    return forward, forward * (2 if every(x)[0].requires_grad else 1)


def now(device: torch.device) -> float:
    """Wait until the device is done; return the seconds on the host's clock."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
