"""``lr=inverse_log``: the inverse of the updates' logarithm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.choice import Number
from bench.keys import Positive
from bench.rule.lr.contract import LearningRate, Length, LongRun


@dataclass(frozen=True)
class InverseLog(LearningRate):
    """gamma0 / log(e + t/t0)."""

    name: ClassVar[str] = "inverse_log"
    place: ClassVar[int] = 8
    example: ClassVar[Mapping[str, Any]] = {"t0": 1.0}
    t0: Positive
    """Updates that the logarithm counts in."""

    def part(self, step: int, steps: int, steps_per_epoch: int) -> float:  # noqa: ARG002
        return 1 / math.log(math.e + step / self.t0)

    def long_run(self) -> LongRun:
        return LongRun("1/log t", infinite_sum=True, finite_squares=False)

    @classmethod
    def search(cls, number: Number, length: Length) -> dict[str, Any]:
        return {"t0": number("t0", log=True) * length.updates}
