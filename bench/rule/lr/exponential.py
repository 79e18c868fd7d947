"""``lr=exponential``: the same factor every epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.choice import Number
from bench.keys import Share
from bench.rule.lr.contract import STEADY, LearningRate, Length, LongRun


@dataclass(frozen=True)
class Exponential(LearningRate):
    """gamma0, times ``factor`` an epoch, a little at every update."""

    name: ClassVar[str] = "exponential"
    place: ClassVar[int] = 4
    example: ClassVar[Mapping[str, Any]] = {"factor": 0.5}
    factor: Share
    """What the rate is multiplied by in an epoch."""

    def part(self, step: int, steps: int, steps_per_epoch: int) -> float:  # noqa: ARG002
        return float(self.factor ** (step / steps_per_epoch))

    def long_run(self) -> LongRun:
        return LongRun(f"{self.factor:g}^epoch", infinite_sum=False, finite_squares=True) if self.factor < 1 else STEADY

    @classmethod
    def search(cls, number: Number, length: Length) -> dict[str, Any]:
        return {"factor": number("final", log=True) ** (length.updates_per_epoch / length.updates)}
