"""A stage that computes and does nothing else: what its pipeline's speed cannot exceed on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Barrier

import torch
from torch import Tensor

from bench.config import RunConfig
from bench.engine.assembly import batches_of, network_of, plan_of
from bench.engine.method.agent import piece
from bench.engine.numerics import Numerics
from bench.engine.weights.versions import Weights
from bench.plan.partition import bounds
from bench.system.heap import keep_freed_memory
from bench.task.network import build
from bench.task.tensors import Tensors, every

WARM_UP = 3
"""Updates before the clock starts."""


def cuts_of(config: RunConfig) -> list[int]:
    """The cuts that a run would make in the network; to be asked for once, as times differ."""
    torch.set_num_threads(1)
    dataset = config.data.load()
    numerics = Numerics.of(config, torch.device("cpu"))
    network = build(config.model, dataset.image_shape, dataset.classes)
    return plan_of(config, network, batches_of(config, dataset, 0, numerics), numerics).cuts


def stage_alone(config: RunConfig, cuts: Sequence[int], stage: int, together: Barrier, steps: int = 40) -> float:
    """Measure images per second of one stage's forward, backward and update, on one and the same batch.

    Args:
        cuts: where the network is cut.
        together: what the processes of all stages meet at before their clocks start.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    dataset = config.data.load()
    numerics = Numerics.of(config, torch.device("cpu"))
    batches = batches_of(config, dataset, 0, numerics)
    network = network_of(config, dataset, numerics)
    first, last = bounds(cuts, len(network))[stage]
    with torch.no_grad():
        x: Tensors = numerics.apply(network[:first], batches.inputs(0, 0))
    update = _Update(config, numerics, Weights(piece(network, first, last), 1), x, stage > 0)
    targets = batches.targets(0, 0) if last == len(network) else None
    for _ in range(WARM_UP):
        update(targets)
    together.wait()
    started = time.perf_counter()
    for _ in range(steps):
        update(targets)
    return steps * config.batch_size / (time.perf_counter() - started)


class _Update:
    """Makes the computations of one update of one stage."""

    def __init__(self, config: RunConfig, numerics: Numerics, weights: Weights, x: Tensors, wanted: bool) -> None:
        self._numerics, self._weights = numerics, weights
        self._optimizer = config.optimizer.flat(weights.current)
        self._input = x
        self._leaves = [part.requires_grad_() for part in every(x)] if wanted else []

    def __call__(self, targets: Tensor | None) -> None:
        """Make one update; the last stage has targets."""
        output = self._numerics.apply(self._weights.module, self._input)
        incoming = None
        if targets is None:
            incoming = [torch.ones_like(part) for part in every(output)]
        else:
            output = self._numerics.loss(output, targets)
        gradients = torch.autograd.grad(output, [*self._weights.parameters, *self._leaves], incoming)
        self._weights.collect(gradients[: len(self._weights.parameters)])
        self._optimizer.step(self._weights.advance(), self._weights.gradient, 0.0)
