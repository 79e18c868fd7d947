"""What every network is: layers in a row, between which it may be cut; none knows of stages.

A layer takes what the one before it gives: one tensor or several, such as a block's features and its shortcut. It never
writes to its input, which may be a leaf that requires a gradient, or a message still being sent; inside, ReLU and sums
may work in place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from bench.choice import Choice

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, int, int]
"""Channels, height and width of an image."""


class Model(Choice):
    """The network that learns."""

    group: ClassVar[str] = "model"

    def entries(self, image_shape: Shape, classes: int) -> Iterable[nn.Module]:
        """Make the layers one by one, initialised from torch's default generator.

        Together they map [batch, channels, height, width] to scores [batch, classes].

        Raises:
            ValueError: the network cannot take such images; the message names the key.
        """
        raise NotImplementedError
