"""What every network is: layers in a row, between which it may be cut; none knows of stages.

A layer takes what the one before it gives: one tensor or several, such as a block's features and its shortcut. It never
writes to its input, which may be a leaf that requires a gradient, or a message still being sent; inside, ReLU and sums
may work in place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from bench.choice import Choice
from bench.task.dataset import Shape

if TYPE_CHECKING:
    from torch import nn


class Model(Choice):
    """The network that learns."""

    group: ClassVar[str] = "model"
    unit: ClassVar[str] = "image"
    """What it takes, as the data set's task calls it."""

    @property
    def window(self) -> int:
        """The units in a row that it takes at once, of data that are such a row."""
        return 1

    def entries(self, shape: Shape, outputs: int) -> Iterable[nn.Module]:
        """Make the layers one by one, initialised from torch's default generator.

        Together they map images [batch, channels, height, width] to scores [batch, outputs], or tokens
        [batch, context] to scores [batch, context, outputs].

        Args:
            shape: what it takes of a sample: channels, height and width, or the context.

        Raises:
            ValueError: the network cannot take such data; the message names the key.
        """
        raise NotImplementedError
