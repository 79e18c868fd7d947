from dataclasses import dataclass
from typing import ClassVar

import torch

from bench.keys import Count
from bench.task.data.contract import Data
from bench.task.image_batches import Labelled
from bench.task.labelled import LabelledImages, assemble


@dataclass(frozen=True)
class Stripes(Data):
    """Noisy stripes, upright or lying: 8 x 8 pixels of one channel."""

    name: ClassVar[str] = "stripes"
    images: Count
    """Number of images to train on; a quarter as many are to test on."""

    def read(self) -> LabelledImages:
        generator = torch.Generator().manual_seed(0)

        def draw(size: int) -> Labelled:
            labels = torch.arange(size) % 2
            upright = (torch.arange(8) % 2 * 128).expand(size, 8, 8)
            stripes = torch.where(labels[:, None, None] == 0, upright, upright.mT)
            noise = torch.randint(0, 128, (size, 8, 8), generator=generator)
            return (stripes + noise).to(torch.uint8).unsqueeze(3), labels

        return assemble(draw(self.images), draw(max(1, self.images // 4)), ("upright", "lying"))
