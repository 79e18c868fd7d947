"""``correction=none``: gradients are applied as they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT


@dataclass(frozen=True)
class NoCorrection:
    """Gradients are applied as they come."""

    __pydantic_config__ = STRICT
    name: Literal["none"]
