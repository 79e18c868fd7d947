"""``lr=constant``: the same rate at every update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.rule.lr.contract import STEADY, LearningRate, LongRun


@dataclass(frozen=True)
class Constant(LearningRate):
    """gamma0 at every update."""

    name: ClassVar[str] = "constant"
    place: ClassVar[int] = 1

    def part(self, step: int, steps: int, steps_per_epoch: int) -> float:  # noqa: ARG002
        return 1.0

    def long_run(self) -> LongRun:
        return STEADY
