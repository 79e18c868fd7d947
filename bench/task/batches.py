"""Batches as a function of (seed, epoch, index, replica): both ends of a pipeline derive the same one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.keys import ConfigError
from bench.task.dataset import Dataset, Split

BORDER = 4
"""Black pixels around an image out of which an augmented one is cropped."""


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


def batches_per_epoch(train_images: int, batch_size: int, replicas: int) -> int:
    """The number of batches of one replica in an epoch; what is left of the images' permutation is dropped."""
    return train_images // (replicas * batch_size)


def check_batch_size(train_images: int, batch_size: int, replicas: int) -> None:
    """Refuse an epoch without a single batch.

    Raises:
        ConfigError: the replicas together want more images per tick than there are.
    """
    if replicas > train_images:
        raise ConfigError(f"replicas={replicas}: may be at most {train_images}, the number of training images")
    if batch_size * replicas > train_images:
        reason = f"the data has {train_images} training images for replicas={replicas}"
        raise ConfigError(f"batch_size={batch_size}: may be at most {train_images // replicas}; {reason}")


class Judged:
    """The batches of the images that a network is judged by, which every replica sees whole."""

    def __init__(self, batches: Batches, images: Tensor, labels: Tensor, chosen: Tensor) -> None:
        self._of, self._images, self._labels, self._chosen = batches, images, labels, chosen
        self.batches = -(-len(chosen) // batches.batch_size)

    def inputs(self, index: int) -> Tensor:
        """Normalised images [batch_size, channels, height, width]; the last batch repeats the last image."""
        return self._of.normalised(self._images.index_select(0, self._rows(index)))

    def targets(self, index: int) -> Tensor:
        """The labels of these images, int64 [batch_size]."""
        return self._labels.index_select(0, self._rows(index)).to(self._of.device)

    def valid(self, index: int) -> int:
        """How many images of the batch count; those after them are repeats."""
        return min(self._of.batch_size, len(self._chosen) - index * self._of.batch_size)

    def _rows(self, index: int) -> Tensor:
        first = index * self._of.batch_size
        positions = torch.arange(first, first + self._of.batch_size).clamp_(max=len(self._chosen) - 1)
        return self._chosen.index_select(0, positions)


class Batches:
    """One replica's batches. Replica s of S takes positions ``(i * S + s) * B`` to ``+ B`` of the epoch's permutation.

    Augmentation is a random crop out of a black border of 4 pixels and a random mirror image, keyed by seed, epoch and
    image. Batches are made on ``device`` and never alias one another or the data set.

    Raises:
        ConfigError: see :func:`check_batch_size`.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        seed: int,
        batch_size: int,
        replica: int = 0,
        replicas: int = 1,
        augment: bool = False,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        check_batch_size(len(dataset.fitted), batch_size, replicas)
        self._dataset = dataset
        self._seed = seed
        self.batch_size = batch_size
        self._replica = replica
        self._replicas = replicas
        self._augment = augment
        self._dtype = dtype
        self._channels_last = channels_last
        self.device = torch.device(device)
        self._epoch: _Epoch | None = None
        _, _, width = dataset.image_shape
        # Rounding belongs to the result: statistics are exact, and bfloat16 would lose them before they are used.
        exact = torch.float64 if dtype == torch.float64 else torch.float32
        deviation = torch.tensor(dataset.deviation, dtype=torch.float64)
        shift = -torch.tensor(dataset.mean, dtype=torch.float64) / deviation
        # Spread over a row of pixels, so that the innermost loop is as long as a row and not as the channels.
        self._scale = (1 / (255 * deviation)).repeat(width).to(self.device, exact)
        self._shift = shift.repeat(width).to(self.device, exact)
        self.batches = batches_per_epoch(len(dataset.fitted), batch_size, replicas)
        train, test = dataset.train, dataset.test
        self.judged: dict[Split, Judged] = {
            "validation": Judged(self, *train, dataset.held_out),
            "test": Judged(self, *test, torch.arange(len(test[1]))),
        }

    def inputs(self, epoch: int, index: int) -> Tensor:
        """Normalised training images [batch_size, channels, height, width]."""
        drawn = self._drawn(epoch)
        chosen = self._chosen(drawn, index)
        images = self._dataset.train_images.index_select(0, self._dataset.fitted[chosen])
        if self._augment:
            offsets, flips = drawn.offsets.index_select(0, chosen), drawn.flips.index_select(0, chosen)
            images = crop_and_flip(images.to(self.device), offsets.to(self.device), flips.to(self.device))
        return self.normalised(images)

    def targets(self, epoch: int, index: int) -> Tensor:
        """The labels of these images, int64 [batch_size]."""
        chosen = self._dataset.fitted[self._chosen(self._drawn(epoch), index)]
        return self._dataset.train_labels.index_select(0, chosen).to(self.device)

    def _drawn(self, epoch: int) -> _Epoch:
        if self._epoch is None or self._epoch.number != epoch:
            images = len(self._dataset.fitted)
            order = torch.randperm(images, generator=_generator("order", self._seed, epoch))
            generator = _generator("augmentation", self._seed, epoch)
            offsets = torch.randint(0, 2 * BORDER + 1, (images, 2), generator=generator)
            flips = torch.randint(0, 2, (images,), generator=generator)
            self._epoch = _Epoch(epoch, order, offsets, flips)
        return self._epoch

    def _chosen(self, drawn: _Epoch, index: int) -> Tensor:
        first = (index * self._replicas + self._replica) * self.batch_size
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


def _generator(purpose: str, seed: int, epoch: int) -> torch.Generator:
    """Make a generator keyed by a hash, so that neighbouring seeds and epochs draw independently."""
    key = hashlib.blake2b(f"{purpose}/{seed}/{epoch}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(key))
