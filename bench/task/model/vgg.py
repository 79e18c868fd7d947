"""``model=vgg``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT


@dataclass(frozen=True)
class VGG:
    """VGG with batch norm (Simonyan and Zisserman 2015), pooled down to one pixel, with one linear layer on top."""

    __pydantic_config__ = STRICT
    name: Literal["vgg"]
    depth: Literal[11, 13, 16, 19]
