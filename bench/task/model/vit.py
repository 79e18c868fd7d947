"""``model=vit``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.keys import Count
from bench.task.dataset import Shape
from bench.task.model.contract import Model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ViT(Model):
    """A small vision transformer (Dosovitskiy et al. 2021) that averages its tokens."""

    name: ClassVar[str] = "vit"
    place: ClassVar[int] = 5
    patch: Count
    """Side of a patch, in pixels; it must divide the image's side."""
    dim: Count
    depth: Count
    heads: Count

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise ValueError(f"dim={self.dim} must be a multiple of heads={self.heads}")

    def entries(self, image_shape: Shape, classes: int) -> Iterator[nn.Module]:
        from bench.task.layers import Attention, FeedForward, PatchEmbedding, TokenHead

        channels, height, width = image_shape
        for side in (height, width):
            if side % self.patch:
                raise ValueError(f"patch={self.patch}: must divide the image side {side}")
        yield PatchEmbedding(channels, self.patch, (height // self.patch) * (width // self.patch), self.dim)
        for _ in range(self.depth):
            yield Attention(self.dim, self.heads)
            yield FeedForward(self.dim)
        yield TokenHead(self.dim, classes)
