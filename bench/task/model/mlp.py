"""``model=mlp``."""

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
class MLP(Model):
    """Fully connected network with ReLU."""

    name: ClassVar[str] = "mlp"
    place: ClassVar[int] = 4
    hidden: Count
    """Units of each hidden layer."""
    layers: Count
    """Number of hidden layers."""

    def entries(self, image_shape: Shape, classes: int) -> Iterator[nn.Module]:
        from torch import nn

        from bench.task.layers import linear

        channels, height, width = image_shape
        yield nn.Sequential(nn.Flatten(), linear(channels * height * width, self.hidden, 2), nn.ReLU(inplace=True))
        for _ in range(self.layers - 1):
            yield nn.Sequential(linear(self.hidden, self.hidden, 2), nn.ReLU(inplace=True))
        yield linear(self.hidden, classes)
