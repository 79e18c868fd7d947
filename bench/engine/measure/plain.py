"""torch.distributed.pipelining as a script would use it: what the engine's own pipelines are held against."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage

from bench.config import RunConfig
from bench.engine.assembly import batches_of, network_of
from bench.engine.measure.minimal import RATE, Minimal
from bench.engine.method.metered import HandedOn
from bench.engine.method.pipelined import schedule_of
from bench.engine.numerics import Numerics
from bench.engine.profile import now
from bench.plan.partition import bounds
from bench.rule.optimizer.contract import set_rate
from bench.rule.optimizer.layout import FlatLayout
from bench.system.heap import keep_freed_memory
from bench.task.tensors import every, together

WARM_UP = 2
"""Updates before the clock starts: torch infers the messages' shapes in the first one."""


def plain_pipeline(config: RunConfig, cuts: Sequence[int], rank: int, store: Path) -> Minimal:
    """Train one stage on the CPU for ``max_steps`` updates, or an epoch's, by torch's stages and gloo's messages.

    Memory that is freed stays with the process, as in the engine's own pipelines; what these are faster by is due to
    their messages.

    Args:
        config: its method is one of those with microbatches.
        cuts: where the network is cut.
        rank: the number of the stage.
        store: a file by which the stages find each other.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    meeting = dist.FileStore(str(store), config.stages)
    dist.init_process_group("gloo", store=meeting, rank=rank, world_size=config.stages)
    try:
        return _train(config, cuts, rank)
    finally:
        dist.destroy_process_group()


def _train(config: RunConfig, cuts: Sequence[int], rank: int) -> Minimal:
    device = torch.device("cpu")
    numerics, dataset = Numerics.of(config, device), config.dataset()
    batches = batches_of(config, dataset, 0, numerics)
    network = network_of(config, dataset, numerics)
    spans = bounds(cuts, len(network))
    mine, last = config.method.held(config.stages, rank), len(spans) - 1
    pieces = [_Piece(network[slice(*spans[number])], numerics, number == 0, number == last) for number in mine]
    stages = [PipelineStage(piece, number, len(spans), device) for piece, number in zip(pieces, mine, strict=True)]
    schedule = schedule_of(config.method, stages, config.microbatches, loss_fn=numerics.loss)
    own = nn.ModuleList(pieces)
    optimizer = config.optimizer.by_parameter(list(own.parameters()), FlatLayout.of(own))
    set_rate(optimizer, RATE)
    steps, started = config.max_steps or batches.batches, now(device)
    losses: list[Tensor] = []
    for index in range(WARM_UP + steps):
        if index == WARM_UP:
            dist.barrier()
            started = now(device)
        batch = index % batches.batches
        optimizer.zero_grad()
        losses.clear()
        inputs = (batches.inputs(0, batch),) if 0 in mine else ()
        targets: dict[str, Any] = {"target": batches.targets(0, batch), "losses": losses} if last in mine else {}
        schedule.step(*inputs, **targets, return_outputs=False)
        optimizer.step()
    dist.barrier()
    speed = steps * config.units / (now(device) - started)
    return Minimal(speed, torch.stack(losses).mean().item() if losses else None)


class _Piece(nn.Module):
    """Layers between two cuts. What has channels travels with them last, as gloo wants its messages contiguous."""

    def __init__(self, layers: nn.Module, numerics: Numerics, first: bool, last: bool) -> None:
        super().__init__()
        self.layers, self._numerics, self._first, self._last = layers, numerics, first, last

    def forward(self, *inputs: Tensor) -> Any:
        parts = inputs if self._first else [_turned(part, 3, 1, 2) for part in inputs]
        outputs = self._numerics.apply(self.layers, together(parts))
        if self._last:
            return outputs
        return together([HandedOn.apply(_turned(part, 2, 3, 1).contiguous()) for part in every(outputs)])


def _turned(tensor: Tensor, *order: int) -> Tensor:
    """What has channels, with all dimensions but the first in another order; anything else as it is."""
    return tensor.permute(0, *order) if tensor.dim() == 4 else tensor
