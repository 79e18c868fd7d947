"""``model=resnet``."""

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
class ResNet(Model):
    """CIFAR ResNet of He et al. 2016 (parameter-free shortcuts), or with ``widen`` > 1 a wider one."""

    name: ClassVar[str] = "resnet"
    place: ClassVar[int] = 1
    depth: Count
    """Layers with weights, 6n + 2: 8, 14, 20, 32, 44, 56, 110."""
    width: Count
    """Channels of the first group; the second and the third have two and four times as many."""

    def __post_init__(self) -> None:
        check_depth(self.depth, 6, 2)

    def entries(self, image_shape: Shape, classes: int) -> Iterator[nn.Module]:
        from bench.task.layers import (
            Beside,
            Branch,
            Sum,
            convolution,
            convolution_norm_and_relu,
            norm_and_relu,
            pooled_head,
        )

        inputs = self.width
        yield convolution_norm_and_relu(image_shape[0], inputs)
        for outputs in (self.width, 2 * self.width, 4 * self.width):
            for _ in range((self.depth - 2) // 6):
                # The width doubles exactly where the side halves.
                yield Branch(inputs, outputs, stride=2 if outputs > inputs else 1)
                yield Beside(norm_and_relu(outputs))
                yield Beside(convolution(outputs, outputs, 3))
                yield Sum(outputs)
                inputs = outputs
        yield pooled_head(inputs, classes)


def check_depth(depth: int, blocks: int, rest: int) -> None:
    if depth < blocks + rest or (depth - rest) % blocks:
        allowed = [blocks * n + rest for n in range(1, 5)]
        raise ValueError(f"depth={depth} must be {blocks}n + {rest}: {', '.join(map(str, allowed))}, ...")
