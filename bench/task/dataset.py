"""Labelled images, and what follows from them: statistics and a digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

Labelled = tuple[Tensor, Tensor]
"""Images uint8 [n, height, width, channels] and labels int64 [n]."""
COUNTED_PIXELS = 2**14
"""Pixels counted at once: so few that torch leaves them to one thread, as two wait for each other on a busy core."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images: uint8 [n, height, width, channels] with int64 labels [n]."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    """Mean of each channel over the training images, which are scaled to 0..1."""
    deviation: tuple[float, ...]
    """Standard deviation of each channel likewise; 1 for one that is constant."""
    digest: str
    """Hexadecimal digest of everything above: two data sets with one digest are equal."""

    @property
    def train(self) -> Labelled:
        """The images and labels to train on."""
        return self.train_images, self.train_labels

    @property
    def test(self) -> Labelled:
        """The images and labels to judge by."""
        return self.test_images, self.test_labels

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The channels, height and width of an image."""
        _, height, width, channels = self.train_images.shape
        return channels, height, width


def assemble(train: Labelled, test: Labelled, class_names: tuple[str, ...]) -> Dataset:
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
    return Dataset(*train, *test, class_names, tuple(means), tuple(deviations), digest.hexdigest())
