"""``lr=linear``: a straight line down to 0.

Bergsma et al. 2025 (arXiv 2502.15938) report that at its own best peak it outperforms the other schedules of their
study of language models (read in the abstract; unchecked here).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.rule.lr.contract import ENDED, LearningRate, LongRun


@dataclass(frozen=True)
class Linear(LearningRate):
    """From gamma0 down to 0 in a straight line over the whole run."""

    name: ClassVar[str] = "linear"
    place: ClassVar[int] = 3

    def part(self, step: int, steps: int, steps_per_epoch: int) -> float:  # noqa: ARG002
        return 1 - step / steps

    def long_run(self) -> LongRun:
        return ENDED
