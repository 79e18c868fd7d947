"""``lr=multistep``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Count, Share
from bench.rule.lr.contract import Schedule


@dataclass(frozen=True)
class MultiStep(Schedule):
    """The rate is gamma0, times ``factor`` at each milestone."""

    __pydantic_config__ = STRICT
    name: Literal["multistep"]
    milestones: list[Count]
    """Epochs after which the factor applies once more, increasing."""
    factor: Share

    def __post_init__(self) -> None:
        if sorted(set(self.milestones)) != self.milestones:
            raise ValueError(f"milestones={self.milestones} must increase")
