"""``correction=lr_discount``: a stage with staleness takes a smaller rate at first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Share


@dataclass(frozen=True)
class RateDiscount:
    """A stage's rate is divided by its staleness to a power that falls from 1 to 0: the first of PipeMare's three
    techniques (arXiv 1910.05124)."""

    __pydantic_config__ = STRICT
    name: Literal["lr_discount"]
    until: Share
    """Share of the run in which the power falls."""
