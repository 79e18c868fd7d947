"""``method=gpipe``: all forwards, then all backwards (Huang et al. 2019, arXiv 1811.06965)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.plan.forecast.orders import KINDS, Pass
from bench.rule.method.baseline import Pipeline


@dataclass(frozen=True)
class GPipe(Pipeline):
    """A stage makes the forwards of all microbatches before the first backward."""

    name: ClassVar[str] = "gpipe"
    place: ClassVar[int] = 3
    schedule: ClassVar[str] = "ScheduleGPipe"

    def orders(self, stages: int, microbatches: int) -> list[list[Pass]]:
        return [
            [Pass(kind, stage, number) for kind in KINDS[:2] for number in range(microbatches)]
            for stage in range(stages)
        ]
