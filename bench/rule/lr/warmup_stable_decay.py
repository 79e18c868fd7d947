"""``lr=warmup_stable_decay``: a rate that stays until the last part of the run, in which it falls to 0.

Hu et al. 2024 (MiniCPM, arXiv 2404.06395) name it so. Hägele et al. 2024 (arXiv 2405.18392) report that the fall along
a root ("1-sqrt") does better than the straight one (read in summaries of it; unchecked here).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from bench.choice import Number
from bench.keys import Share
from bench.rule.lr.contract import ENDED, LearningRate, Length, LongRun

DECAY = 0.2
"""Share of the run that falls in a study's trials."""


@dataclass(frozen=True)
class WarmupStableDecay(LearningRate):
    """gamma0 from the warm-up on, and over the last part of the run down to 0."""

    name: ClassVar[str] = "warmup_stable_decay"
    place: ClassVar[int] = 5
    example: ClassVar[Mapping[str, Any]] = {"decay": DECAY, "fall": "straight"}
    decay: Share
    """Share of the run that falls."""
    fall: Literal["straight", "root"]
    """How: by the share x of the fall that is over, as 1 - x or as 1 - sqrt(x)."""

    def part(self, step: int, steps: int, steps_per_epoch: int) -> float:  # noqa: ARG002
        length = self.decay * steps
        over = max(0.0, step - (steps - length)) / length
        return 1 - (over if self.fall == "straight" else over**0.5)

    def long_run(self) -> LongRun:
        return ENDED

    @classmethod
    def search(cls, number: Number, length: Length) -> dict[str, Any]:  # noqa: ARG003
        return {"decay": DECAY, "fall": "straight"}
