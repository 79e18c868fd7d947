"""The loop that anybody would write for the same network and data: what the engine's own speed is held against."""

from __future__ import annotations

import torch

from bench.config import SGD, RunConfig
from bench.engine.numerics import Numerics
from bench.engine.profile import now
from bench.task.data import Batches
from bench.task.models import build
from bench.task.sources import load

WARM_UP = 20
"""Updates on a GPU before the clock starts: kernels are chosen, compiled and captured in the first ones."""


def minimal_loop(config: RunConfig, compiled: bool = False) -> float:
    """Images per second of ``max_steps`` updates, or an epoch's, in one process; on a CPU with one thread.

    Args:
        compiled: by torch.compile, with CUDA graphs.
    """
    torch.set_num_threads(1)
    numerics = Numerics.of(config, torch.device(config.device))
    dataset = load(config.data)
    batches = Batches(
        dataset,
        seed=config.seed,
        batch_size=config.batch_size,
        channels_last=config.channels_last,
        device=numerics.device,
    )
    torch.manual_seed(config.seed)
    network = numerics.place(build(config.model, dataset.image_shape, dataset.classes))
    forward = torch.compile(network, mode="reduce-overhead") if compiled else network
    assert isinstance(config.optimizer, SGD)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.1, momentum=config.optimizer.momentum, weight_decay=config.optimizer.weight_decay
    )
    steps, warm_up = config.max_steps or batches.batches, WARM_UP if config.device == "cuda" else 0
    started = now(numerics.device)
    for index in range(steps):
        if index == warm_up:
            started = now(numerics.device)
        optimizer.zero_grad()
        with torch.autocast(config.device, torch.bfloat16, enabled=config.precision == "bfloat16"):
            loss = torch.nn.functional.cross_entropy(forward(batches.inputs(0, index)), batches.targets(0, index))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return (steps - warm_up) * config.batch_size / (now(numerics.device) - started)
