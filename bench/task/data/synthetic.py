"""``data=synthetic``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from bench.choice import STRICT, Count


@dataclass(frozen=True)
class Synthetic:
    """Random images with random labels, for throughput: nothing can be learned from them."""

    __pydantic_config__ = STRICT
    name: Literal["synthetic"]
    shape: Annotated[list[Count], Field(min_length=3, max_length=3)]
    """Channels, height and width of an image."""
    classes: Annotated[int, Field(ge=2)]
    train_size: Count
    test_size: Count
