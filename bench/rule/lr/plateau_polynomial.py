"""``lr=plateau_polynomial``: a power of the epochs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.choice import Number
from bench.keys import Positive
from bench.rule.lr.contract import LearningRate, Length, LongRun


@dataclass(frozen=True)
class PlateauPolynomial(LearningRate):
    """gamma0 (1 + n/t0)^-p through the whole of epoch n, from 0."""

    name: ClassVar[str] = "plateau_polynomial"
    place: ClassVar[int] = 9
    example: ClassVar[Mapping[str, Any]] = {"t0": 1.0, "p": 1.0}
    t0: Positive
    """Epochs after which the rate has fallen by 2^p."""
    p: Positive
    """The power."""

    def part(self, step: int, steps: int, steps_per_epoch: int) -> float:  # noqa: ARG002
        return float((1 + step // steps_per_epoch / self.t0) ** -self.p)

    def long_run(self) -> LongRun:
        return LongRun(f"epoch^-{self.p:g}", infinite_sum=self.p <= 1, finite_squares=2 * self.p > 1)

    @classmethod
    def search(cls, number: Number, length: Length) -> dict[str, Any]:
        return {"t0": number("t0", log=True) * length.epochs, "p": number("p")}
