"""``lr=inverse_root``: the inverse square root of the updates (Vaswani et al. 2017, arXiv 1706.03762, eq. 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from bench.choice import Number
from bench.rule.lr.contract import LearningRate, Length, LongRun


@dataclass(frozen=True)
class InverseRoot(LearningRate):
    """gamma0 for t0 updates, then gamma0 sqrt(t0 / (t + 1)); with a warm-up of as many updates it is that of the
    paper."""

    name: ClassVar[str] = "inverse_root"
    place: ClassVar[int] = 8
    example: ClassVar[Mapping[str, Any]] = {"t0": 1.0}
    t0: Annotated[float, Field(ge=1)]
    """Updates from which on the rate falls."""

    def part(self, step: int, steps: int, steps_per_epoch: int) -> float:  # noqa: ARG002
        return float((self.t0 / max(self.t0, step + 1)) ** 0.5)

    def long_run(self) -> LongRun:
        return LongRun("t^-0.5", infinite_sum=True, finite_squares=False)

    @classmethod
    def search(cls, number: Number, length: Length) -> dict[str, Any]:
        return {"t0": max(1.0, number("t0", log=True) * length.updates)}
