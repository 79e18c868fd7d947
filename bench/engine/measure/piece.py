"""Measures a piece of a network as one agent trains it, layer by layer."""

from __future__ import annotations

import copy
import statistics
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# What torch's schedules run where they put the weights' gradients off.
from torch.distributed.pipelining._backward import stage_backward_input, stage_backward_weight

from bench.config import RunConfig
from bench.engine.assembly import batches_of, network_of
from bench.engine.measure.speed import Halves, Passes, Speed
from bench.engine.measure.update import Update
from bench.engine.method.metered import Layers
from bench.engine.numerics import Numerics
from bench.engine.profile import Layer, now
from bench.engine.weights.versions import Weights
from bench.system.heap import keep_freed_memory
from bench.task.build import own_parameters
from bench.task.dataset import Dataset
from bench.task.tensors import Tensors, every, together

REPEATS = 10
"""Updates whose mean is taken: what holds a machine up now and then, training meets too."""


class Measured:
    """A piece of the network, trained on one and the same batch.

    Args:
        layers: the whole network's.
        span: (first layer, last layer + 1) of the piece.
    """

    def __init__(self, config: RunConfig, dataset: Dataset, layers: Sequence[Layer], span: tuple[int, int]) -> None:
        torch.set_num_threads(1)
        keep_freed_memory()
        numerics = Numerics.of(config, torch.device(config.device))
        self._device, self._batches = numerics.device, batches_of(config, dataset, 0, numerics)
        network = network_of(config, dataset, numerics)
        first, end = span
        self._input = self._arriving(network[:first], numerics) if first else None
        self._targets = self._batches.targets(0, 0) if end == len(network) else None
        piece, self._layers = network[first:end], list(layers[first:end])
        self._sizes = [sum(parameter.nbytes for parameter in own) for _, own in own_parameters(piece)]
        self._update = Update(config, numerics, Weights(piece.train(), 2), whole=False)
        self._split = _Split(Weights(copy.deepcopy(piece).train(), 1), numerics)
        self._train(0)

    def _arriving(self, before: nn.Sequential, numerics: Numerics) -> Tensors:
        """What the piece takes: inputs, or what the layers before it hand on."""
        with torch.no_grad():
            x: Tensors = numerics.apply(before, self._batches.inputs(0, 0))
        return together([part.requires_grad_() for part in every(x)])

    def speed(self) -> Speed:
        """Measure the seconds of some updates, and return their means."""
        data, updates = zip(*(self._train(0) for _ in range(REPEATS)), strict=True)
        forward, backward, collect, step = (_means(rows) for rows in zip(*updates, strict=True))
        total = max(sum(self._sizes), 1)
        whole = [sum(map(sum, parts)) for parts in updates]
        return Speed(
            self._layers,
            [Passes(*layer) for layer in zip(forward, backward, strict=True)],
            *self._held(),
            self._sizes,
            statistics.fmean(data),
            collect[0] / total,
            step[0] / total,
            spread(whole),
        )

    def _held(self) -> tuple[list[Passes], list[Halves]]:
        """Measure each layer's seconds with a batch between its forward and its backward."""
        updates, halves = [], []
        for number in range(1 + REPEATS):
            _, seconds = self._train(1)
            split = self._split(self._x(), self._targets, 1)
            if number:
                updates.append(seconds)
                halves.append(split)
        self._update.forget()
        self._split.forget()
        forward, backward, *_ = (_means(rows) for rows in zip(*updates, strict=True))
        to_inputs, to_weights = (_means(rows) for rows in zip(*halves, strict=True))
        passes = [Passes(*layer) for layer in zip(forward, backward, strict=True)]
        return passes, [Halves(*layer) for layer in zip(to_inputs, to_weights, strict=True)]

    def _train(self, flight: int) -> tuple[float, Sequence[list[float]]]:
        """Make one update with so many batches in flight; return the seconds of preparing inputs, and of its parts."""
        started = now(self._device)
        x = self._x()
        prepared = now(self._device) - started if self._input is None else 0.0
        return prepared, self._update(x, self._targets, flight)

    def _x(self) -> Tensors:
        return self._batches.inputs(0, 0) if self._input is None else self._input


def spread(seconds: Sequence[float]) -> float:
    """Half of what the middle two thirds of some times span, over their mean.

    Of a normal distribution that is 0.97 of the standard deviation. That of ten updates is mostly due to
    the one which the machine held up: it was 0.26 where most updates differed by 0.05, and as every update's it
    predicts stages that wait for one another all the time.
    """
    low, *_, high = statistics.quantiles(seconds, n=6, method="inclusive")
    return (high - low) / 2 / statistics.fmean(seconds)


def _means(rows: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.fmean(column) for column in zip(*rows, strict=True)]


class _Split:
    """Makes a piece's backward in two, as ``zero_bubble`` does."""

    def __init__(self, weights: Weights, numerics: Numerics) -> None:
        self._numerics, self._weights = numerics, weights
        self._layers = list(weights.module.children())
        for parameter, view in zip(weights.parameters, weights.views(weights.gradient), strict=True):
            parameter.grad = view
        self._flight: deque[tuple[list[list[Tensor]], list[list[Tensor]]]] = deque()

    def __call__(self, x: Tensors, targets: Tensor | None, flight: int) -> Sequence[list[float]]:
        """Time each layer's backward to its input, and then to its weights, in seconds; 0 of one that has inputs."""
        self._flight.append(self._forward(x, targets))
        return self._backward(*self._flight.popleft()) if len(self._flight) > flight else ()

    def forget(self) -> None:
        """Drop the batches in flight."""
        self._flight.clear()

    def _forward(self, x: Tensors, targets: Tensor | None) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """Pass a batch forward; return the inputs and outputs of each layer."""
        inputs: list[list[Tensor]] = [[part.detach().requires_grad_(part.requires_grad) for part in every(x)]]
        outputs: list[list[Tensor]] = []
        for layer in self._layers:
            outputs.append([*every(Layers(layer, self._numerics)(*inputs[-1]))])
            inputs.append([output.detach().requires_grad_() for output in outputs[-1]])
        if targets is not None:
            (logits,) = outputs.pop()
            outputs.append([self._numerics.loss(logits, targets)])
        return inputs, outputs

    def _backward(self, inputs: list[list[Tensor]], outputs: list[list[Tensor]]) -> Sequence[list[float]]:
        device = self._numerics.device
        incoming = [torch.ones_like(output) for output in outputs[-1]]
        spent: list[tuple[float, float]] = []
        for layer, x, output in reversed(list(zip(self._layers, inputs, outputs, strict=False))):
            if not x[0].requires_grad:
                spent.insert(0, (0.0, 0.0))
                break
            started = now(device)
            gradients, groups = stage_backward_input(output, incoming, x, layer.parameters())
            between = now(device)
            stage_backward_weight(layer.parameters(), groups)
            spent.insert(0, (between - started, now(device) - between))
            incoming = [gradient for gradient in gradients if gradient is not None]
            assert len(incoming) == len(x)
        self._weights.gradient.zero_()
        to_inputs, to_weights = zip(*spent, strict=True)
        return list(to_inputs), list(to_weights)
