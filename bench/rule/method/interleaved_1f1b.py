"""``method=interleaved_1f1b``: 1F1B with two pieces a stage, in a loop (Narayanan et al. 2021, arXiv 2104.04473)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.plan.forecast.orders import Pass, alternating
from bench.rule.method.baseline import Pipeline


@dataclass(frozen=True)
class Interleaved(Pipeline):
    """A stage turns from one of its pieces to the other after each round of microbatches."""

    name: ClassVar[str] = "interleaved_1f1b"
    place: ClassVar[int] = 5
    schedule: ClassVar[str] = "ScheduleInterleaved1F1B"
    pieces: ClassVar[int] = 2

    def misfit(self, stages: int, microbatches: int) -> str | None:
        if microbatches % (rounds := max(1, microbatches // stages)):
            needs = f"needs a multiple of {rounds}, its rounds"
            return f"microbatches={microbatches}: method={self.name} with stages={stages} {needs}"
        return None

    def orders(self, stages: int, microbatches: int) -> list[list[Pass]]:
        if misfit := self.misfit(stages, microbatches):
            raise ValueError(misfit)
        together = microbatches // max(1, microbatches // stages)
        return [alternating(stages, stage, microbatches, self.pieces, together, 2) for stage in range(stages)]
