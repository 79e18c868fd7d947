"""``lr=inverse_log``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Positive
from bench.rule.lr.contract import Schedule


@dataclass(frozen=True)
class InverseLog(Schedule):
    """The rate is gamma0 / log(e + t/t0)."""

    __pydantic_config__ = STRICT
    name: Literal["inverse_log"]
    t0: Positive
    """The time scale of the fall, in updates."""
