"""``lr=cosine``: half a cosine (SGDR, Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5 with one period)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from bench.keys import Fraction
from bench.rule.lr.contract import ENDED, STEADY, LearningRate, LongRun, half_cosine


@dataclass(frozen=True)
class Cosine(LearningRate):
    """From gamma0 down to 0, or to a floor, along half a cosine over the whole run."""

    name: ClassVar[str] = "cosine"
    place: ClassVar[int] = 3
    floor: Fraction = field(default=0.0, kw_only=True)
    """Share of gamma0 that it ends at, and would stay at."""

    def part(self, step: int, steps: int, steps_per_epoch: int) -> float:  # noqa: ARG002
        return self.floor + (1 - self.floor) * half_cosine(step / steps)

    def long_run(self) -> LongRun:
        return STEADY if self.floor else ENDED
