from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from bench.keys import Count
from bench.task.dataset import Shape
from bench.task.model.contract import Model


@dataclass(frozen=True)
class LeNet(Model):
    """Two convolutions and a linear layer, after LeCun et al. 1998."""

    name: ClassVar[str] = "lenet"
    width: Count
    """Channels of the first convolution."""

    def entries(self, image_shape: Shape, classes: int) -> Iterator[nn.Module]:
        channels, height, width = image_shape
        yield nn.Sequential(nn.Conv2d(channels, self.width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        yield nn.Sequential(nn.Conv2d(self.width, 2 * self.width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        yield nn.Sequential(nn.Flatten(), nn.Linear(2 * self.width * (height // 4) * (width // 4), classes))
