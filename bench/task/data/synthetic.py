"""``data=synthetic``: random images with random labels, for throughput."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from bench.keys import Count
from bench.task.data.contract import Data

if TYPE_CHECKING:
    from torch import Tensor

    from bench.task.labelled import LabelledImages

LABEL_BYTES = 40
"""Bytes beside an image's pixels: its label, and where an epoch has it, crops it and mirrors it."""
NAME_BYTES = 64
"""Bytes of a class's name."""


@dataclass(frozen=True)
class Synthetic(Data):
    """Random images with random labels, for throughput: nothing can be learned from them."""

    name: ClassVar[str] = "synthetic"
    place: ClassVar[int] = 5
    shape: Annotated[list[Count], Field(min_length=3, max_length=3)]
    """Channels, height and width of an image."""
    classes: Annotated[int, Field(ge=2)]
    """Number of labels."""
    train_size: Count
    """Number of images to train on."""
    test_size: Count
    """Number of images to test on."""

    def prepare(self) -> Path | None:
        """Check that there is memory for the images, their labels and what an epoch draws of them, and the names."""
        from bench.task.memory import require

        images = self.train_size + self.test_size
        needed = images * (math.prod(self.shape) + LABEL_BYTES) + self.classes * NAME_BYTES
        keys = {f"data.{key}": value for key, value in vars(self).items()}
        require(keys, needed, f"{images} images of {' x '.join(map(str, self.shape))} in {self.classes} classes")
        return None

    def read(self) -> LabelledImages:
        import torch

        from bench.task.labelled import assemble

        generator = torch.Generator().manual_seed(0)
        channels, height, width = self.shape

        def draw(size: int) -> tuple[Tensor, Tensor]:
            images = torch.randint(0, 256, (size, height, width, channels), dtype=torch.uint8, generator=generator)
            return images, torch.randint(0, self.classes, (size,), generator=generator)

        return assemble(draw(self.train_size), draw(self.test_size), tuple(map(str, range(self.classes))))

    def sizes(self) -> Mapping[str, object]:
        return {"data.classes": self.classes, "data.shape": self.shape}
