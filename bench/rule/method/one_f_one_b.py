"""``method=1f1b``: a forward and a backward in turns (Narayanan et al. 2019, PipeDream, arXiv 1806.03377).

Two microbatches on two agents::

    agent 0  F0 F1 .  B0 .  B1
    agent 1  .  F0 B0 F1 B1 .
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.plan.forecast.orders import Pass, alternating
from bench.rule.method.baseline import Pipeline


@dataclass(frozen=True)
class OneForwardOneBackward(Pipeline):
    """A stage makes a backward as soon as the first gradient can be there, and then both in turns."""

    name: ClassVar[str] = "1f1b"
    place: ClassVar[int] = 4
    schedule: ClassVar[str] = "Schedule1F1B"

    def misfit(self, stages: int, microbatches: int) -> str | None:
        if microbatches < stages:
            return f"microbatches={microbatches}: method={self.name} needs at least stages={stages}"
        return None

    def orders(self, stages: int, microbatches: int) -> list[list[Pass]]:
        return [alternating(stages, stage, microbatches) for stage in range(stages)]
