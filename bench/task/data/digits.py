"""``data=digits``: scikit-learn's handwritten digits, which are embedded in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.task.data.contract import Data

if TYPE_CHECKING:
    from bench.task.labelled import LabelledImages

TRAIN = 1437
"""Images to train on; the other 360 are to test on."""


@dataclass(frozen=True)
class Digits(Data):
    """scikit-learn's handwritten digits, 8 x 8, embedded: 1,437 to train on and 360 to test on."""

    name: ClassVar[str] = "digits"
    place: ClassVar[int] = 1

    def prepare(self) -> Path:
        from bench.task.cache import kept

        return kept(self.name, None, self.read)

    def read(self) -> LabelledImages:
        import torch
        from sklearn.datasets import load_digits  # 1.4 s, here alone

        from bench.task.labelled import assemble

        bunch = load_digits()
        images = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(3)
        labels = torch.from_numpy(bunch.target).long()
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        train, test = order[:TRAIN], order[TRAIN:]
        names = tuple(str(name) for name in bunch.target_names)
        return assemble((images[train], labels[train]), (images[test], labels[test]), names)
