"""``correction=shrink``: a gradient shrinks at every stage boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Share


@dataclass(frozen=True)
class Shrink:
    """A gradient counts ``beta`` times at every stage boundary that it comes back through (FDG, arXiv 1906.09108)."""

    __pydantic_config__ = STRICT
    name: Literal["shrink"]
    beta: Share
