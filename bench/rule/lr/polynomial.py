"""``lr=polynomial``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Positive
from bench.rule.lr.contract import Schedule


@dataclass(frozen=True)
class Polynomial(Schedule):
    """The rate is gamma0 (1 + t/t0)^-p."""

    __pydantic_config__ = STRICT
    name: Literal["polynomial"]
    t0: Positive
    """The time scale of the fall, in updates."""
    p: Positive
