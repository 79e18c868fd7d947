"""``model=vit``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Count


@dataclass(frozen=True)
class ViT:
    """A small vision transformer (Dosovitskiy et al. 2021) that averages its tokens."""

    __pydantic_config__ = STRICT
    name: Literal["vit"]
    patch: Count
    """Side of a patch, in pixels; it must divide the image's side."""
    dim: Count
    depth: Count
    heads: Count

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise ValueError(f"dim={self.dim} must be a multiple of heads={self.heads}")
