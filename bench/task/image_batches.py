"""Batches of labelled images: shuffled, cropped and mirrored as the seed and the epoch say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.task.batches import Batches, Judged, generator
from bench.task.contract import Split
from bench.task.dataset import Draw, Placed, batches_per_epoch

Labelled = tuple[Tensor, Tensor]
"""Images uint8 [n, height, width, channels] and labels int64 [n]."""

BORDER = 4
"""Black pixels around an image out of which an augmented one is cropped."""


class Pictures(NamedTuple):
    """What batches of images are made of."""

    train: Labelled
    test: Labelled
    fitted: Tensor
    """Which of the training images updates are made with, int64."""
    held_out: Tensor
    """Which of them are for validation, int64."""
    mean: tuple[float, ...]
    """Mean of each channel, of images scaled to 0..1."""
    deviation: tuple[float, ...]
    """Standard deviation of each channel likewise."""


@dataclass(frozen=True, eq=False)
class _Epoch:
    """What one epoch draws, by position in the shuffled order or by image, as these are counted in ``fitted``."""

    number: int
    order: Tensor
    """int64 [n]: the image at each position."""
    offsets: Tensor
    """int64 [n, 2]: row and column of each image's crop, in 0..2 * BORDER."""
    flips: Tensor
    """int64 [n]: 1 where the crop is mirrored."""


class JudgedImages(Judged):
    """The batches of the images that a network is judged by."""

    def __init__(self, batches: ImageBatches, images: Tensor, labels: Tensor, chosen: Tensor) -> None:
        self._of, self._images, self._labels, self._chosen = batches, images, labels, chosen
        self.batches = -(-len(chosen) // batches.batch_size)

    def inputs(self, index: int) -> Tensor:
        """Normalised images [batch_size, channels, height, width]."""
        return self._of.normalised(self._images.index_select(0, self._rows(index)))

    def targets(self, index: int) -> Tensor:
        """The labels of these images, int64 [batch_size]."""
        return self._labels.index_select(0, self._rows(index)).to(self._of.device)

    def valid(self, index: int) -> int:
        return min(self._of.batch_size, len(self._chosen) - index * self._of.batch_size)

    def _rows(self, index: int) -> Tensor:
        first = index * self._of.batch_size
        positions = torch.arange(first, first + self._of.batch_size).clamp_(max=len(self._chosen) - 1)
        return self._chosen.index_select(0, positions)


class ImageBatches(Batches):
    """One replica's batches of images. Replica s of S takes positions ``(i * S + s) * B`` to ``+ B`` of the epoch's
    permutation.

    Augmentation is a random crop out of a black border of 4 pixels and a random mirror image, keyed by seed, epoch and
    image.
    """

    def __init__(self, pictures: Pictures, draw: Draw, placed: Placed, *, augment: bool) -> None:
        self._pictures, self._draw, self._augment = pictures, draw, augment
        self.batch_size = draw.batch_size
        self.device, self._dtype, self._channels_last = placed
        self._epoch: _Epoch | None = None
        width = pictures.train[0].shape[2]
        # Rounding belongs to the result: statistics are exact, and bfloat16 would lose them before they are used.
        exact = torch.float64 if self._dtype == torch.float64 else torch.float32
        deviation = torch.tensor(pictures.deviation, dtype=torch.float64)
        shift = -torch.tensor(pictures.mean, dtype=torch.float64) / deviation
        # Spread over a row of pixels, so that the innermost loop is as long as a row and not as the channels.
        self._scale = (1 / (255 * deviation)).repeat(width).to(self.device, exact)
        self._shift = shift.repeat(width).to(self.device, exact)
        self.batches = batches_per_epoch(len(pictures.fitted), draw.batch_size, draw.replicas)
        train, test = pictures.train, pictures.test
        self.judged: dict[Split, Judged] = {
            "validation": JudgedImages(self, *train, pictures.held_out),
            "test": JudgedImages(self, *test, torch.arange(len(test[1]))),
        }

    def inputs(self, epoch: int, index: int) -> Tensor:
        """Normalised training images [batch_size, channels, height, width]."""
        drawn = self._drawn(epoch)
        chosen = self._chosen(drawn, index)
        images = self._pictures.train[0].index_select(0, self._pictures.fitted[chosen])
        if self._augment:
            offsets, flips = drawn.offsets.index_select(0, chosen), drawn.flips.index_select(0, chosen)
            images = crop_and_flip(images.to(self.device), offsets.to(self.device), flips.to(self.device))
        return self.normalised(images)

    def targets(self, epoch: int, index: int) -> Tensor:
        """The labels of these images, int64 [batch_size]."""
        chosen = self._pictures.fitted[self._chosen(self._drawn(epoch), index)]
        return self._pictures.train[1].index_select(0, chosen).to(self.device)

    def _drawn(self, epoch: int) -> _Epoch:
        if self._epoch is None or self._epoch.number != epoch:
            images = len(self._pictures.fitted)
            order = torch.randperm(images, generator=generator("order", self._draw.seed, epoch))
            augmentation = generator("augmentation", self._draw.seed, epoch)
            offsets = torch.randint(0, 2 * BORDER + 1, (images, 2), generator=augmentation)
            flips = torch.randint(0, 2, (images,), generator=augmentation)
            self._epoch = _Epoch(epoch, order, offsets, flips)
        return self._epoch

    def _chosen(self, drawn: _Epoch, index: int) -> Tensor:
        first = (index * self._draw.replicas + self._draw.replica) * self.batch_size
        return drawn.order[first : first + self.batch_size]

    def normalised(self, images: Tensor) -> Tensor:
        """Images uint8 [batch, height, width, channels] as a network takes them: scaled, on the device."""
        batch, height, width, channels = images.shape
        rows = images.to(self.device).view(batch * height, width * channels).to(self._scale.dtype)
        normalised = torch.addcmul(self._shift, rows, self._scale).to(self._dtype)
        result = normalised.view(batch, height, width, channels).permute(0, 3, 1, 2)
        return result if self._channels_last else result.contiguous()


def crop_and_flip(images: Tensor, offsets: Tensor, flips: Tensor) -> Tensor:
    """Cut each image's window out of the image with a black border, mirrored where told.

    Args:
        images: uint8 [batch, height, width, channels].
        offsets: int64 [batch, 2], row and column of the window in the bordered image, 0..2 * BORDER.
        flips: int64 [batch], 0 or 1.
    """
    batch, height, width, channels = images.shape
    bordered = F.pad(images, (0, 0, BORDER, BORDER, BORDER, BORDER))
    down, across, each = (torch.arange(size, device=images.device) for size in (height, width, batch))
    rows = offsets[:, :1] + down
    columns = offsets[:, 1:] + (flips[:, None] * (width - 1) - across).abs()
    lines = each[:, None] * (height + 2 * BORDER) + rows
    pixels = lines[:, :, None] * (width + 2 * BORDER) + columns[:, None, :]
    # One selection of whole pixels costs half of an advanced index by image, row and column.
    return bordered.view(-1, channels).index_select(0, pixels.view(-1)).view(images.shape)
