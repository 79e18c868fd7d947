"""``correction=lr_discount``: a stage with staleness takes a smaller rate at first.

It is the first of the three techniques of PipeMare (Yang et al. 2021, arXiv 1910.05124).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.choice import Number
from bench.keys import Share
from bench.rule.correction.contract import Correction


@dataclass(frozen=True)
class RateDiscount(Correction):
    """A stage's rate is divided by its staleness to a power that falls linearly from 1 to 0."""

    name: ClassVar[str] = "lr_discount"
    place: ClassVar[int] = 3
    changed: ClassVar[str] = "the rates of stale stages, which climb while the discount falls"
    until: Share
    """Share of the run in which the power falls."""

    def discount(self, delay: int, step: int, steps: int) -> float:
        return math.pow(delay, -max(0.0, 1 - step / (self.until * steps))) if delay else 1.0

    @classmethod
    def search(cls, number: Number) -> dict[str, Any]:
        return {"until": number("until")}
