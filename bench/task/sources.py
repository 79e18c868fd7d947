"""Where the images come from: a configuration to uint8 arrays, decoded once and mapped into memory by every rank.

The parent process calls :func:`prepare`, which decodes the images, checks them and writes one file; ranks call
:func:`load`, which maps that file, so that they share its pages and import no decoder.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import sys
import warnings
from pathlib import Path

import torch
from torch import Tensor

from bench.choice import ConfigError
from bench.task.cache import Damaged, kept, opened
from bench.task.choices import Data
from bench.task.data.cifar import CIFAR
from bench.task.data.digits import Digits
from bench.task.data.imagefolder import ImageFolder
from bench.task.data.synthetic import Synthetic
from bench.task.dataset import Dataset, assemble
from bench.task.images import left_out, list_images, read_images
from bench.task.memory import require

LABEL_BYTES = 40
"""Bytes of an image beside its pixels: its label, and where an epoch has it, crops it and mirrors it."""
NAME_BYTES = 64
"""Bytes of a class's name."""
CIFAR_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}


def prepare(data: Data) -> Path | None:
    """Decode ``data`` into a cached file, unless there is one; synthetic data needs none.

    The file lies in ``<folder>/.staleness-bench/`` or, where that cannot be written, in the user's cache folder. It is
    named after what it was made from and replaced atomically, so processes may prepare the same data at once.

    Raises:
        ConfigError: the data is missing, incomplete, damaged or larger than the memory, or there is nowhere to keep the
            file.
    """
    match data:
        case Synthetic():
            _require_memory(data)
            return None
        case Digits():
            return kept("digits", None, _read_digits)
        case CIFAR():
            files = _list_cifar(data)
            return kept(f"{data.name}-{_key(files)}", Path(data.folder), lambda: _read_cifar(data))
        case ImageFolder():
            listing = list_images(data)
            if listing.left_out:
                _say(f"data.folder={data.folder!r}: {left_out(listing.left_out)}")
            name = f"imagefolder-{_key((data.image_size, listing.files))}"
            return kept(name, Path(data.folder), lambda: read_images(data, listing))


def load(data: Data, prepared: Path | None = None) -> Dataset:
    """Map the images from the file that :func:`prepare` returned (and without one, from what it returns now).

    Raises:
        ConfigError: the file is damaged by now; without one, as :func:`prepare`.
    """
    path = prepared or prepare(data)
    if isinstance(data, Synthetic):
        return _synthesise(data)
    assert path is not None
    try:
        return opened(path)
    except Damaged as error:
        raise ConfigError(f"data.name={data.name!r}: {error}") from None


@functools.cache
def _say(line: str) -> None:
    """Tell the user something once."""
    print(line, file=sys.stderr)


def download(data: Data) -> None:
    """Fetch CIFAR into its folder.

    Raises:
        ConfigError: the data is not CIFAR.
        OSError, RuntimeError: the download failed, or what arrived is damaged.
    """
    if not isinstance(data, CIFAR):
        raise ConfigError(f"data.name={data.name!r}: allowed for a download are 'cifar10' and 'cifar100'")
    from torchvision import datasets  # 2.8 s, here alone

    kind = datasets.CIFAR10 if data.name == "cifar10" else datasets.CIFAR100
    kind(data.folder, download=True)


def _key(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


# ---------------------------------------------------------------------------------------------------------- the sources
def _require_memory(data: Synthetic) -> None:
    """Require memory for images, with their labels and what an epoch draws of them, and for the names of classes.

    Raises:
        ConfigError: there is less.
    """
    keys = {f"data.{name}": getattr(data, name) for name in ("shape", "classes", "train_size", "test_size")}
    images = data.train_size + data.test_size
    needed = images * (math.prod(data.shape) + LABEL_BYTES) + data.classes * NAME_BYTES
    require(keys, needed, f"{images} images of {' x '.join(map(str, data.shape))} in {data.classes} classes")


def _synthesise(data: Synthetic) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    channels, height, width = data.shape

    def draw(size: int) -> tuple[Tensor, Tensor]:
        images = torch.randint(0, 256, (size, height, width, channels), dtype=torch.uint8, generator=generator)
        return images, torch.randint(0, data.classes, (size,), generator=generator)

    return assemble(draw(data.train_size), draw(data.test_size), tuple(map(str, range(data.classes))))


def _read_digits() -> Dataset:
    from sklearn.datasets import load_digits  # 1.4 s, here alone

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(3)
    labels = torch.from_numpy(bunch.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order[:1437], order[1437:]
    names = tuple(str(name) for name in bunch.target_names)
    return assemble((images[train], labels[train]), (images[test], labels[test]), names)


def _list_cifar(data: CIFAR) -> list[tuple[str, int, int]]:
    folder = os.path.join(data.folder, CIFAR_FOLDERS[data.name])
    if not os.path.isdir(folder):
        raise ConfigError(f"data.folder={data.folder!r}: holds no {CIFAR_FOLDERS[data.name]}/; {_fetch(data)}")
    with os.scandir(folder) as entries:
        return sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries)


def _read_cifar(data: CIFAR) -> Dataset:
    import numpy
    from torchvision import datasets  # 2.8 s, here alone

    kind = datasets.CIFAR10 if data.name == "cifar10" else datasets.CIFAR100
    splits = []
    try:
        with warnings.catch_warnings():
            # The published files were pickled by a numpy so old that numpy 2.4 warns of its way to write a dtype.
            warnings.simplefilter("ignore", numpy.exceptions.VisibleDeprecationWarning)
            for train in (True, False):
                split = kind(data.folder, train=train, download=False)
                splits.append((torch.from_numpy(split.data), torch.tensor(split.targets)))
    except RuntimeError:
        raise ConfigError(
            f"data.folder={data.folder!r}: its {data.name} is damaged; delete it and {_fetch(data)}"
        ) from None
    return assemble(splits[0], splits[1], tuple(split.classes))


def _fetch(data: CIFAR) -> str:
    return f"fetch it: python -m bench download data={data.name} data.folder={data.folder}"
