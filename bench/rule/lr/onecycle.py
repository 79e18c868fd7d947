"""``lr=onecycle``: up and down once (Smith and Topin 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.choice import Number
from bench.keys import Fraction, Share
from bench.rule.lr.contract import ENDED, LearningRate, Length, LongRun, half_cosine

START = 0.04
"""Share of gamma0 that a study's trials start from; the warm-up has the same end."""


@dataclass(frozen=True)
class OneCycle(LearningRate):
    """Up to gamma0 over the first part of the run, then down to 0, both along half a cosine."""

    name: ClassVar[str] = "onecycle"
    place: ClassVar[int] = 5
    example: ClassVar[Mapping[str, Any]] = {"rise": 0.5, "start": 0.5}
    rise: Fraction
    """Share of the run that climbs."""
    start: Share
    """Share of gamma0 that it starts from."""

    def part(self, step: int, steps: int, steps_per_epoch: int) -> float:  # noqa: ARG002
        top = self.rise * steps
        if step < top:
            return 1 - (1 - self.start) * half_cosine(step / top)
        return half_cosine((step - top) / (steps - top))

    def long_run(self) -> LongRun:
        return ENDED

    def climbs(self) -> float:
        return self.rise if self.start < 1 else 0.0

    @classmethod
    def search(cls, number: Number, length: Length) -> dict[str, Any]:  # noqa: ARG003
        return {"rise": number("rise"), "start": START}
