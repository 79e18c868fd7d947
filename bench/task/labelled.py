"""Labelled images, and what follows from them: statistics and a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.task.classification import IMAGES
from bench.task.contract import LearningTask
from bench.task.dataset import Dataset, Draw, Placed, check_batch_size, check_held_out
from bench.task.image_batches import ImageBatches, Labelled, Pictures

VALIDATION_KEY = 20250918
"""Key of the draw of the images for validation, whatever the run's seed."""
COUNTED_PIXELS = 2**14
"""Pixels counted at once: so few that torch leaves them to one thread, as two wait for each other on a busy core."""


@dataclass(frozen=True, eq=False)
class LabelledImages(Dataset):
    """Labelled images: uint8 [n, height, width, channels] with int64 labels [n]."""

    task: ClassVar[LearningTask] = IMAGES
    kind: ClassVar[str] = "images"
    sample: ClassVar[str] = "image"
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    """Mean of each channel over all training images, scaled to 0..1."""
    deviation: tuple[float, ...]
    """Standard deviation of each channel likewise; 1 for one that is constant."""
    digest: str
    """Hexadecimal digest of everything above: two data sets with one digest are equal."""
    held_out: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    """Which of the training images are for validation, int64, increasing: no update sees them."""

    @cached_property
    def fitted(self) -> Tensor:
        """Which of the training images updates are made with, int64, increasing."""
        rest = torch.ones(len(self.train_labels), dtype=torch.bool)
        rest[self.held_out] = False
        return rest.nonzero().flatten()

    @property
    def samples(self) -> int:
        return len(self.fitted)

    @property
    def sizes(self) -> Mapping[str, int]:
        return {"train": len(self.fitted), "validation": len(self.held_out), "test": len(self.test_labels)}

    def hold_out(self, share: float) -> LabelledImages:
        if not share:
            return self
        held_out = stratified(self.train_labels, share)
        check_held_out(len(self.train_labels), len(held_out), "images")
        return replace(self, held_out=held_out)

    @property
    def train(self) -> Labelled:
        """The images and labels to train on."""
        return self.train_images, self.train_labels

    @property
    def test(self) -> Labelled:
        """The images and labels to judge by."""
        return self.test_images, self.test_labels

    @property
    def outputs(self) -> int:
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The channels, height and width of an image."""
        _, height, width, channels = self.train_images.shape
        return channels, height, width

    def batches(self, draw: Draw, placed: Placed, *, augment: bool = False) -> ImageBatches:
        check_batch_size(self, draw.batch_size, draw.replicas)
        pictures = Pictures(self.train, self.test, self.fitted, self.held_out, self.mean, self.deviation)
        return ImageBatches(pictures, draw, placed, augment=augment)

    def example(self, samples: int, device: torch.device) -> Tensor:
        return torch.empty(samples, *self.input_shape, device=device)

    def describe(self) -> dict[str, Any]:
        images = {f"{split}_images": count for split, count in self.sizes.items()}
        return {"digest": self.digest, **images, "image_shape": list(self.input_shape), "classes": self.outputs}

    def content(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "held_out"}

    @classmethod
    def of_content(cls, content: dict[str, Any]) -> LabelledImages:
        return cls(**content)

    def check(self) -> None:
        for images, labels in (self.train, self.test):
            classes = labels.numpy()
            if len(images) != len(classes) or not 0 <= classes.min() <= classes.max() < self.outputs:
                raise ValueError("its labels are not those of its images")
        again = assemble(self.train, self.test, self.class_names)
        if (again.digest, again.mean, again.deviation) != (self.digest, self.mean, self.deviation):
            raise ValueError("its digest or its statistics are those of other images")


def stratified(labels: Tensor, share: float) -> Tensor:
    """Draw a share of the labels, by a fixed key, in which every class has its share.

    What is left over by rounding down goes to the classes that have lost most by it, the first ones first.

    Args:
        labels: int64 [n].

    Returns:
        Which ones they are, int64, increasing.
    """
    counts = torch.bincount(labels).double()
    quotas = (counts * share).floor()
    left = round(len(labels) * share) - int(quotas.sum())
    most = torch.argsort(quotas - counts * share, stable=True)
    quotas[most[:left]] += 1
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(VALIDATION_KEY))
    drawn = [order[labels[order] == label][: int(quota)] for label, quota in enumerate(quotas.tolist())]
    return torch.cat([*drawn, torch.empty(0, dtype=torch.int64)]).sort().values


def assemble(train: Labelled, test: Labelled, class_names: tuple[str, ...]) -> LabelledImages:
    """Make a data set of images and labels, with what follows from them: each channel's statistics, the digest."""
    # A histogram gives the exact statistics without a floating-point copy of all images.
    pixels, levels = train[0].flatten(0, 2), torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in range(pixels.shape[1]):
        counts = torch.zeros(256, dtype=torch.int64)
        for part in torch.split(pixels, COUNTED_PIXELS):
            counts += torch.bincount(part[:, channel], minlength=256)
        shares = counts.double() / counts.sum()
        mean = float((shares * levels).sum())
        means.append(mean)
        deviations.append(float((shares * (levels - mean) ** 2).sum().sqrt()) or 1.0)
    digest = hashlib.blake2b(repr(class_names).encode(), digest_size=16)
    for tensor in (*train, *test):
        digest.update(repr(tuple(tensor.shape)).encode())
        digest.update(tensor.numpy().reshape(-1).data)
    return LabelledImages(*train, *test, class_names, tuple(means), tuple(deviations), digest.hexdigest())
