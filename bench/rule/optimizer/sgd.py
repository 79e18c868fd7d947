"""``optimizer=sgd``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Fraction, NonNegative


@dataclass(frozen=True)
class SGD:
    __pydantic_config__ = STRICT
    name: Literal["sgd"]
    momentum: Fraction
    weight_decay: NonNegative
    nesterov: bool

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError(f"nesterov={self.nesterov} needs momentum above 0, not momentum={self.momentum}")
