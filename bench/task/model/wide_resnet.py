"""``model=wide_resnet``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.keys import Count
from bench.task.dataset import Shape
from bench.task.model.contract import Model
from bench.task.model.resnet import check_depth

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class WideResNet(Model):
    """Wide ResNet of Zagoruyko and Komodakis 2016 (pre-activation)."""

    name: ClassVar[str] = "wide_resnet"
    place: ClassVar[int] = 2
    depth: Count
    """Layers with weights, 6n + 4: 10, 16, 22, 28, 40."""
    widen: Count
    """Factor on the widths 16, 32, 64."""

    def __post_init__(self) -> None:
        check_depth(self.depth, 6, 4)

    def entries(self, image_shape: Shape, classes: int) -> Iterator[nn.Module]:
        from torch import nn

        from bench.task.layers import (
            Beside,
            PreActivation,
            PreActivationSum,
            Projection,
            convolution,
            norm_and_relu,
            pooled_head,
        )

        inputs = 16
        yield convolution(image_shape[0], inputs, 3)
        for group, width in enumerate((16, 32, 64)):
            for block in range((self.depth - 4) // 6):
                outputs, stride = width * self.widen, 2 if group and not block else 1
                if stride > 1 or inputs != outputs:
                    yield norm_and_relu(inputs)
                    yield Projection(inputs, outputs, stride)
                else:
                    yield PreActivation(inputs)
                    yield Beside(convolution(inputs, outputs, 3))
                yield Beside(norm_and_relu(outputs))
                yield PreActivationSum(outputs)
                inputs = outputs
        yield nn.Sequential(*norm_and_relu(inputs), *pooled_head(inputs, classes))
