"""A stage that computes and does nothing else: what its pipeline's speed cannot exceed on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Barrier

import torch

from bench.config import RunConfig
from bench.engine.assembly import batches_of, network_of, plan_of
from bench.engine.measure.update import Update
from bench.engine.method.agent import piece
from bench.engine.numerics import Numerics
from bench.engine.weights.versions import Weights
from bench.plan.partition import bounds
from bench.system.heap import keep_freed_memory
from bench.task.build import build
from bench.task.tensors import Tensors, every

WARM_UP = 3
"""Updates before the clock starts."""


def cuts_of(config: RunConfig) -> list[int]:
    """The cuts that a run would make in the network; to be asked for once, as times differ."""
    torch.set_num_threads(1)
    dataset = config.dataset()
    numerics = Numerics.of(config, torch.device("cpu"))
    network = build(config.model, dataset)
    return plan_of(config, network, batches_of(config, dataset, 0, numerics), numerics).cuts


def stage_alone(config: RunConfig, cuts: Sequence[int], stage: int, together: Barrier, steps: int = 40) -> float:
    """Measure units per second of one stage's forward, backward and update, on one and the same batch.

    Args:
        cuts: where the network is cut.
        together: what the processes of all stages meet at before their clocks start.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    dataset = config.dataset()
    numerics = Numerics.of(config, torch.device("cpu"))
    batches = batches_of(config, dataset, 0, numerics)
    network = network_of(config, dataset, numerics)
    first, last = bounds(cuts, len(network))[stage]
    with torch.no_grad():
        x: Tensors = numerics.apply(network[:first], batches.inputs(0, 0))
    for part in every(x):
        part.requires_grad_(stage > 0)
    update = Update(config, numerics, Weights(piece(network, first, last), 1), whole=True)
    targets = batches.targets(0, 0) if last == len(network) else None
    for _ in range(WARM_UP):
        update(x, targets)
    together.wait()
    started = time.perf_counter()
    for _ in range(steps):
        update(x, targets)
    return steps * config.units / (time.perf_counter() - started)
