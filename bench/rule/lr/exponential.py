"""``lr=exponential``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Share
from bench.rule.lr.contract import Schedule


@dataclass(frozen=True)
class Exponential(Schedule):
    """The rate is gamma0, times ``factor`` an epoch, a little at every update."""

    __pydantic_config__ = STRICT
    name: Literal["exponential"]
    factor: Share
