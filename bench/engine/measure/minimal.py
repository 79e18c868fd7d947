"""The loop that anybody would write for the same network and data: what the engine's own speed is held against."""

from __future__ import annotations

from typing import NamedTuple

import torch

from bench.config import RunConfig
from bench.engine.assembly import batches_of, network_of
from bench.engine.numerics import Numerics
from bench.engine.profile import now
from bench.rule.optimizer.contract import set_rate
from bench.rule.optimizer.layout import FlatLayout

RATE = 0.1
WARM_UP = 20
"""Updates before the clock starts where the first ones choose, compile or capture kernels."""


class Minimal(NamedTuple):
    """What a script finds out about its own training."""

    units_per_second: float
    loss: float | None
    """The last update's loss; None where another process has the network's last layer."""


def minimal_loop(config: RunConfig, compiled: bool = False) -> Minimal:
    """Train in one process for ``max_steps`` updates, or an epoch's; on a CPU with one thread.

    Args:
        compiled: whether torch.compile compiles the network; on a GPU with CUDA graphs.
    """
    torch.set_num_threads(1)
    numerics = Numerics.of(config, torch.device(config.device))
    dataset = config.dataset()
    batches = batches_of(config, dataset, 0, numerics)
    network = network_of(config, dataset, numerics)
    on_gpu = config.device == "cuda"
    forward = torch.compile(network, mode="reduce-overhead" if on_gpu else "default") if compiled else network
    optimizer = config.optimizer.by_parameter(list(network.parameters()), FlatLayout.of(network))
    set_rate(optimizer, RATE)
    steps, warm_up = config.max_steps or batches.batches, WARM_UP if on_gpu or compiled else 0
    started, loss = now(numerics.device), torch.zeros(())
    for index in range(warm_up + steps):
        if index == warm_up:
            started = now(numerics.device)
        batch = index % batches.batches
        optimizer.zero_grad()
        loss = numerics.loss(numerics.apply(forward, batches.inputs(0, batch)), batches.targets(0, batch))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return Minimal(steps * config.units / (now(numerics.device) - started), loss.item())
