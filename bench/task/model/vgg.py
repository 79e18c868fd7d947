"""``model=vgg``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.task.dataset import Shape
from bench.task.model.contract import Model

if TYPE_CHECKING:
    from torch import nn

GROUPS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions of each group, by the number of layers with weights."""
WIDTHS = (64, 128, 256, 512, 512)
"""Channels of each group."""


@dataclass(frozen=True)
class VGG(Model):
    """VGG with batch norm (Simonyan and Zisserman 2015), pooled down to one pixel, with one linear layer on top."""

    name: ClassVar[str] = "vgg"
    place: ClassVar[int] = 3
    depth: Literal[11, 13, 16, 19]

    def entries(self, image_shape: Shape, classes: int) -> Iterator[nn.Module]:
        from torch import nn

        from bench.task.layers import convolution_norm_and_relu, pooled_head

        inputs, side = image_shape[0], min(image_shape[1:])
        for convolutions, outputs in zip(GROUPS[self.depth], WIDTHS, strict=True):
            for number in range(convolutions):
                entry = convolution_norm_and_relu(inputs, outputs)
                if number == convolutions - 1 and side > 1:
                    entry.append(nn.MaxPool2d(2))
                    side //= 2
                yield entry
                inputs = outputs
        yield pooled_head(inputs, classes)
