"""How a stage computes: device, precision, memory layout and random numbers. Worker and oracle share it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bench.config import RunConfig
from bench.engine.worker import Evaluation
from bench.task.batches import Judged
from bench.task.contract import LearningTask
from bench.task.tensors import Tensors

Module = TypeVar("Module", bound=nn.Module)

_PRIME = 0x9E3779B97F4A7C15
_MASK = (1 << 63) - 1


@dataclass(frozen=True)
class Numerics:
    """Device and precision of a run."""

    device: torch.device
    dtype: torch.dtype
    """The type of weights and inputs; bfloat16 keeps both in float32 and computes under autocast."""
    autocast: bool
    channels_last: bool
    task: LearningTask

    @classmethod
    def of(cls, config: RunConfig, device: torch.device) -> Numerics:
        dtype = torch.float64 if config.precision == "float64" else torch.float32
        return cls(device, dtype, config.precision == "bfloat16", config.channels_last, config.data.task)

    def place(self, module: Module) -> Module:
        """Move a module to the run's device, dtype and layout."""
        module = module.to(self.device, self.dtype)
        return module.to(memory_format=torch.channels_last) if self.channels_last else module

    def apply(self, module: Callable[[Any], Any], x: Tensors) -> Any:
        """Compute ``module(x)`` in the run's precision: the :data:`Tensors` that it hands on, or what it tells."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            return module(x)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The task's mean loss of a batch, in the weights' precision."""
        return self.task.loss(outputs.to(self.dtype), targets)

    def score(self, outputs: Tensor, judged: Judged, index: int) -> Evaluation:
        """What the task says of one batch, its padding left out, in the weights' precision."""
        valid = judged.valid(index)
        return Evaluation(self.task.score(outputs[:valid].to(self.dtype), judged.targets(index)[:valid]))


def seed_stage(seed: int, step: int, replica: int, stage: int) -> None:
    """Key a stage's random numbers (dropout) by what it computes, so that a recomputation draws the same ones.

    Masks therefore depend on the cut: with dropout a split network is not bit for bit the unsplit one.
    """
    key = seed
    for part in (step, replica, stage):
        key = (key * _PRIME + part + 1) & _MASK
    # torch.manual_seed would also queue a call, with a formatted traceback, for every GPU back end not yet in use: 1 ms
    # and some kB each time.
    torch.default_generator.manual_seed(key)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(key)
