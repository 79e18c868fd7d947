from dataclasses import dataclass
from typing import ClassVar

from bench.keys import Share
from bench.rule.lr.contract import STEADY, LearningRate, LongRun


@dataclass(frozen=True)
class Sawtooth(LearningRate):
    """From gamma0 down to ``low`` times gamma0 in every epoch, and up again at the next one's start."""

    name: ClassVar[str] = "sawtooth"
    low: Share
    """The share of gamma0 that an epoch would end at."""

    def part(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return 1 - (1 - self.low) * (step % steps_per_epoch) / steps_per_epoch

    def climbs(self) -> float:
        return 1.0

    def long_run(self) -> LongRun:
        return STEADY
