"""``lr=cosine``: half a cosine (SGDR, Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5 with one period)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.rule.lr.contract import ENDED, LearningRate, LongRun, half_cosine


@dataclass(frozen=True)
class Cosine(LearningRate):
    """From gamma0 down to 0 along half a cosine over the whole run."""

    name: ClassVar[str] = "cosine"
    place: ClassVar[int] = 3

    def part(self, step: int, steps: int, steps_per_epoch: int) -> float:  # noqa: ARG002
        return half_cosine(step / steps)

    def long_run(self) -> LongRun:
        return ENDED
