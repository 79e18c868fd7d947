from dataclasses import dataclass
from typing import ClassVar

from bench.keys import Share
from bench.rule.correction.contract import Correction


@dataclass(frozen=True)
class Halve(Correction):
    """A stage whose gradients are stale takes a part of the learning rate, whatever their age."""

    name: ClassVar[str] = "halve"
    part: Share
    """The share of the rate that it takes."""

    def discount(self, delay: int, step: int, steps: int) -> float:
        return self.part if delay else 1.0
