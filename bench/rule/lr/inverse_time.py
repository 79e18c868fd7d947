"""``lr=inverse_time``: the inverse of the updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.choice import Number
from bench.keys import Positive
from bench.rule.lr.contract import LearningRate, Length, LongRun


@dataclass(frozen=True)
class InverseTime(LearningRate):
    """gamma0 / (1 + t/t0)."""

    name: ClassVar[str] = "inverse_time"
    place: ClassVar[int] = 7
    example: ClassVar[Mapping[str, Any]] = {"t0": 1.0}
    t0: Positive
    """Updates after which the rate has halved."""

    def part(self, step: int, steps: int, steps_per_epoch: int) -> float:  # noqa: ARG002
        return 1 / (1 + step / self.t0)

    def long_run(self) -> LongRun:
        return LongRun("t^-1", infinite_sum=True, finite_squares=True)

    @classmethod
    def search(cls, number: Number, length: Length) -> dict[str, Any]:
        return {"t0": number("t0", log=True) * length.updates}
