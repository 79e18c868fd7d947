"""What torch's pipeline schedules take for themselves."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bench.engine.meter import Meter
from bench.engine.method.agent import Piece
from bench.engine.method.metered import MeteredStage
from bench.engine.method.pipelined import schedule_of
from bench.engine.numerics import Numerics
from bench.engine.transport.message import Message
from bench.rule.method.contract import Method
from bench.task.contract import LearningTask

MICROBATCHES = 8
REPEATS = 20
EMPTYING = 1 << 20
"""Numbers to write that fill four megabytes, more than a core's own caches."""


def seconds_a_pass(method: Method) -> float:
    """Measure the seconds that a schedule and its stages take for each pass of a microbatch, beside the arithmetic.

    The network is next to nothing, and this process holds all its pieces; what it takes in a loop is taken off. Its
    layers write as much as empties the caches, as layers do. It makes this process a group of its own.
    """
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        layers: list[nn.Module] = [nn.Sequential(nn.Linear(1, 1), _Emptying()) for _ in range(method.pieces)]
        inputs = torch.zeros(MICROBATCHES, 1)
        schedule = _schedule(method, layers, inputs)
        # By turns, as a machine's speed drifts; the first calls apart.
        more = [
            _seconds(lambda: schedule.step(inputs, target=inputs, losses=[], return_outputs=False))
            - _seconds(lambda: _bare(layers, inputs))
            for _ in range(REPEATS + 1)
        ][1:]
    finally:
        dist.destroy_process_group()
    passes = (3 if method.splits_backward else 2) * method.pieces * MICROBATCHES
    return max(statistics.median(more), 0.0) / passes


def _schedule(method: Method, layers: list[nn.Module], inputs: Tensor) -> Any:
    device = torch.device("cpu")
    numerics, message = Numerics(device, inputs.dtype, False, False, LearningTask()), Message.like(inputs[:1])
    stages = [
        MeteredStage(
            Piece(layer, None, None),
            (None, None),
            number,
            len(layers),
            (message, message),
            dist.group.WORLD,
            numerics,
            Meter(device),
            lambda *_: None,
        )
        for number, layer in enumerate(layers)
    ]
    return schedule_of(
        method,
        stages,
        MICROBATCHES,
        loss_fn=lambda output, target: (output - target).sum(),
        scale_grads=False,
    )


def _bare(layers: list[nn.Module], inputs: Tensor) -> None:
    """Do the same arithmetic in a loop."""
    for part in inputs.chunk(MICROBATCHES):
        x, target = part, part
        for layer in layers:
            x = layer(x)
        (x - target).sum().backward()  # type: ignore[no-untyped-call]


class _Emptying(nn.Module):
    """Hands on what comes, forward and backward, when the caches hold nothing of before."""

    def __init__(self) -> None:
        super().__init__()
        self._written = torch.zeros(EMPTYING)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = _Empty.apply(x, self._written)
        return output


class _Empty(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, written: Tensor) -> Tensor:
        ctx.written = written.fill_(1)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.written.fill_(0)
        return gradient, None


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
