"""``lr=polynomial``: a power of the updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.choice import Number
from bench.keys import Positive
from bench.rule.lr.contract import LearningRate, Length, LongRun


@dataclass(frozen=True)
class Polynomial(LearningRate):
    """gamma0 (1 + t/t0)^-p."""

    name: ClassVar[str] = "polynomial"
    place: ClassVar[int] = 6
    example: ClassVar[Mapping[str, Any]] = {"t0": 1.0, "p": 1.0}
    t0: Positive
    """Updates after which the rate has fallen by 2^p."""
    p: Positive
    """The power."""

    def part(self, step: int, steps: int, steps_per_epoch: int) -> float:  # noqa: ARG002
        return float((1 + step / self.t0) ** -self.p)

    def long_run(self) -> LongRun:
        return LongRun(f"t^-{self.p:g}", infinite_sum=self.p <= 1, finite_squares=2 * self.p > 1)

    @classmethod
    def search(cls, number: Number, length: Length) -> dict[str, Any]:
        return {"t0": number("t0", log=True) * length.updates, "p": number("p")}
