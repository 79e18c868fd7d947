"""``correction=shrink``: a gradient shrinks at every stage boundary (FDG, Zhuang et al. 2021, arXiv 1906.09108)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bench.choice import Number
from bench.keys import Share
from bench.rule.correction.contract import Correction


@dataclass(frozen=True)
class Shrink(Correction):
    """A gradient counts ``beta`` times at every stage boundary that it comes back through."""

    name: ClassVar[str] = "shrink"
    place: ClassVar[int] = 2
    changed: ClassVar[str] = "the gradients of all stages but the last, each by another factor"
    beta: Share
    """The factor on a gradient at a boundary."""

    def shrinkage(self) -> float:
        return self.beta

    @classmethod
    def search(cls, number: Number) -> dict[str, Any]:
        return {"beta": number("beta")}
