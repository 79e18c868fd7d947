"""``optimizer=adamw``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from bench.choice import STRICT, Fraction, NonNegative, Positive


@dataclass(frozen=True)
class AdamW:
    __pydantic_config__ = STRICT
    name: Literal["adamw"]
    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)]
    eps: Positive
    weight_decay: NonNegative
