"""``lr=constant``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT
from bench.rule.lr.contract import Schedule


@dataclass(frozen=True)
class Constant(Schedule):
    """The rate is gamma0 at every update."""

    __pydantic_config__ = STRICT
    name: Literal["constant"]
