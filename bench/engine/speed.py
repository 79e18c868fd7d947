"""What a network's training costs on this machine, layer by layer: what a prediction of throughput is made of."""

from __future__ import annotations

import copy
import statistics
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

# What torch's schedules run where they put the weights' gradients off.
from torch.distributed.pipelining._backward import stage_backward_input, stage_backward_weight

from bench.config import RunConfig
from bench.engine.assembly import batches_of
from bench.engine.heap import keep_freed_memory
from bench.engine.metered import Layers
from bench.engine.numerics import Numerics
from bench.engine.optimizer import FlatOptimizer
from bench.engine.profile import Layer, Row, now, profile
from bench.engine.weights import Weights
from bench.task.data import Dataset
from bench.task.models import build
from bench.task.tensors import every

REPEATS = 10
"""Updates."""


class Passes(NamedTuple):
    """Seconds of one layer."""

    forward: float
    backward: float
    input: float
    """Of a backward to the gradients of the layer's input alone."""
    weights: float
    """Of a pass to the gradients of its weights, after that."""


class Speed(NamedTuple):
    """Of one agent, for batches of one size."""

    layers: list[Layer]
    """Their messages, and the costs by which a run would cut the network."""
    passes: list[Passes]
    """Of each layer, in a row as in training. The last one's hold the loss."""
    held: list[Passes]
    """The same where a batch's backward comes after the next one's forward, so that caches hold less of its own."""
    parameter_bytes: list[int]
    """Of each layer."""
    data: float
    """Seconds to prepare a batch's images."""
    collect: float
    """Seconds a parameter byte: to gather the gradients, at the end of a backward."""
    update: float
    """Seconds a parameter byte: of the optimizer's step."""
    jitter: float
    """Standard deviation of an update's time, over its mean."""


class Measured:
    """The whole network, trained on one and the same batch."""

    def __init__(self, config: RunConfig, dataset: Dataset) -> None:
        torch.set_num_threads(1)
        keep_freed_memory()
        numerics = Numerics.of(config, torch.device(config.device))
        self._device, self._batches = numerics.device, batches_of(config, dataset, 0, numerics)
        torch.manual_seed(config.seed)
        network = numerics.place(build(config.model, dataset.image_shape, dataset.classes))
        self._layers = profile(network, self._batches.inputs(0, 0), numerics, "measured")
        self._sizes = [sum(p.numel() * p.element_size() for p in layer.parameters()) for layer in network]
        self._update = _Update(config, numerics, network)
        self._split = _Split(Weights(copy.deepcopy(network).train(), 1), numerics)
        self._once()

    def speed(self) -> Speed:
        """Medians of some updates."""
        data, updates, split = zip(*(self._once() for _ in range(REPEATS)), strict=True)
        forward, backward, collect, step = (_medians(rows) for rows in zip(*updates, strict=True))
        total = max(sum(self._sizes), 1)
        whole = [sum(map(sum, parts)) for parts in updates]
        return Speed(
            self._layers,
            _passes(forward, backward, split),
            self._held(),
            self._sizes,
            statistics.median(data),
            collect[0] / total,
            step[0] / total,
            statistics.stdev(whole) / statistics.fmean(whole),
        )

    def _held(self) -> list[Passes]:
        self._once(flight=1)
        _, updates, split = zip(*(self._once(flight=1) for _ in range(REPEATS)), strict=True)
        self._update.forget()
        self._split.forget()
        forward, backward, *_ = (_medians(rows) for rows in zip(*updates, strict=True))
        return _passes(forward, backward, split)

    def _once(self, flight: int = 0) -> tuple[float, Sequence[list[float]], Sequence[list[float]]]:
        """With so many batches between their forward and their backward."""
        started = now(self._device)
        images = self._batches.inputs(0, 0)
        prepared = now(self._device) - started
        targets = self._batches.targets(0, 0)
        return prepared, self._update(images, targets, flight), self._split(images, targets, flight)


def _passes(
    forward: Sequence[float], backward: Sequence[float], split: Sequence[Sequence[list[float]]]
) -> list[Passes]:
    return [Passes(*layer) for layer in zip(forward, backward, *map(_medians, zip(*split, strict=True)), strict=True)]


def mean(speeds: Sequence[Speed]) -> Speed:
    """Of processes that computed at the same time."""
    first, count = speeds[0], len(speeds)
    passes, held = (
        [Passes(*(sum(seconds) / count for seconds in zip(*layer, strict=True))) for layer in zip(*rows, strict=True)]
        for rows in ([speed.passes for speed in speeds], [speed.held for speed in speeds])
    )
    others = (sum(values) / count for values in zip(*(speed[4:] for speed in speeds), strict=True))
    return Speed(first.layers, passes, held, first.parameter_bytes, *others)


def count(config: RunConfig, dataset: Dataset) -> list[float]:
    """Operations of each layer."""
    torch.set_num_threads(1)
    numerics = Numerics.of(config, torch.device(config.device))
    images = batches_of(config, dataset, 0, numerics).inputs(0, 0)
    network = numerics.place(build(config.model, dataset.image_shape, dataset.classes))
    return [layer.cost for layer in profile(network, images, numerics, "counted")]


def _medians(rows: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*rows, strict=True)]


class _Update:
    """One update of a network, as a worker makes it."""

    def __init__(self, config: RunConfig, numerics: Numerics, network: nn.Sequential) -> None:
        self._numerics, self._weights = numerics, Weights(network.train(), 2)
        self._optimizer = FlatOptimizer(config.optimizer, self._weights.current)
        self._flight: deque[tuple[Row, list[nn.Parameter]]] = deque()

    def __call__(self, images: Tensor, targets: Tensor, flight: int) -> Sequence[list[float]]:
        """Seconds of each layer's forward and backward, to collect the gradients, and of the optimizer's step.

        The backward is that of the batch that came so many calls before, whose weights one update does not write over.
        """
        device, weights = self._numerics.device, self._weights
        newest = Row(weights.module.children(), images, targets, self._numerics)
        self._flight.append((newest, weights.parameters))
        if len(self._flight) <= flight:
            return ()
        oldest, parameters = self._flight.popleft()
        backward, gradients = oldest.backward(parameters)
        started = now(device)
        weights.collect(gradients)
        collected = now(device)
        self._optimizer.step(weights.advance(), weights.gradient, 0.0)
        return newest.forward, backward, [collected - started], [now(device) - collected]

    def forget(self) -> None:
        """Nothing is in flight."""
        self._flight.clear()


class _Split:
    """A network's backward in two, as ``zero_bubble`` makes it."""

    def __init__(self, weights: Weights, numerics: Numerics) -> None:
        self._numerics, self._weights = numerics, weights
        self._layers = list(weights.module.children())
        for parameter, view in zip(weights.parameters, weights.views(weights.gradient), strict=True):
            parameter.grad = view
        self._flight: deque[tuple[list[list[Tensor]], list[list[Tensor]]]] = deque()

    def __call__(self, images: Tensor, targets: Tensor, flight: int) -> Sequence[list[float]]:
        """Seconds of each layer's backward to its input, and then to its weights; 0 of the first, which has images."""
        self._flight.append(self._forward(images, targets))
        return self._backward(*self._flight.popleft()) if len(self._flight) > flight else ()

    def forget(self) -> None:
        """Nothing is in flight."""
        self._flight.clear()

    def _forward(self, images: Tensor, targets: Tensor) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """Inputs and outputs of each layer."""
        inputs: list[list[Tensor]] = [[images]]
        outputs: list[list[Tensor]] = []
        for layer in self._layers:
            outputs.append([*every(Layers(layer, self._numerics)(*inputs[-1]))])
            inputs.append([output.detach().requires_grad_() for output in outputs[-1]])
        (logits,) = outputs.pop()
        outputs.append([self._numerics.loss(logits, targets)])
        return inputs, outputs

    def _backward(self, inputs: list[list[Tensor]], outputs: list[list[Tensor]]) -> Sequence[list[float]]:
        device = self._numerics.device
        incoming: list[Tensor] | None = None
        spent = [(0.0, 0.0)]
        for layer, x, output in reversed(list(zip(self._layers, inputs, outputs, strict=False))[1:]):
            started = now(device)
            gradients, groups = stage_backward_input(output, incoming, x, layer.parameters())
            between = now(device)
            stage_backward_weight(layer.parameters(), groups)
            spent.insert(1, (between - started, now(device) - between))
            incoming = [gradient for gradient in gradients if gradient is not None]
            assert len(incoming) == len(x)
        self._weights.gradient.zero_()
        to_inputs, to_weights = zip(*spent, strict=True)
        return list(to_inputs), list(to_weights)
