"""``lr=multistep``: a rate that drops at milestones."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.choice import Number
from bench.keys import Count, Share
from bench.rule.lr.contract import STEADY, LearningRate, Length, LongRun


@dataclass(frozen=True)
class MultiStep(LearningRate):
    """gamma0, times ``factor`` at each milestone."""

    name: ClassVar[str] = "multistep"
    place: ClassVar[int] = 2
    example: ClassVar[Mapping[str, Any]] = {"milestones": [1], "factor": 0.5}
    milestones: list[Count]
    """Epochs, increasing."""
    factor: Share
    """What the rate is multiplied by."""

    def __post_init__(self) -> None:
        if sorted(set(self.milestones)) != self.milestones:
            raise ValueError(f"milestones={self.milestones} must increase")

    def part(self, step: int, steps: int, steps_per_epoch: int) -> float:  # noqa: ARG002
        return self.factor ** bisect_right(self.milestones, step // steps_per_epoch)

    def long_run(self) -> LongRun:
        return STEADY

    @classmethod
    def search(cls, number: Number, length: Length) -> dict[str, Any]:
        milestones = sorted({max(1, length.epochs // 2), max(1, 3 * length.epochs // 4)})
        return {"milestones": milestones, "factor": number("final", log=True) ** (1 / len(milestones))}
