"""``data=cifar10`` and ``data=cifar100``: torchvision's CIFAR."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.keys import ConfigError, Place
from bench.task.data.contract import Data

if TYPE_CHECKING:
    from bench.task.labelled import LabelledImages


@dataclass(frozen=True)
class CIFAR(Data):
    """torchvision's CIFAR; ``python -m bench download data=cifar10`` fetches it."""

    files: ClassVar[str]
    """The folder of its files, in ``folder``."""
    source: ClassVar[str]
    """torchvision's class."""
    folder: Place
    """The folder that the data is kept in."""
    augment: bool
    """Whether to crop at random out of a 4-pixel border, and to mirror at random."""

    def prepare(self) -> Path:
        from bench.task.cache import kept, key_of

        return kept(f"{self.name}-{key_of(self._listing())}", Path(self.folder), self.read)

    def read(self) -> LabelledImages:
        import numpy
        import torch
        from torchvision import datasets  # 2.8 s, here alone

        from bench.task.labelled import assemble

        splits = []
        try:
            with warnings.catch_warnings():
                # The published files were pickled by a numpy so old that numpy 2.4 warns of its way to write a dtype.
                warnings.simplefilter("ignore", numpy.exceptions.VisibleDeprecationWarning)
                for train in (True, False):
                    split = getattr(datasets, self.source)(self.folder, train=train, download=False)
                    splits.append((torch.from_numpy(split.data), torch.tensor(split.targets)))
        except RuntimeError:
            raise ConfigError(
                f"data.folder={self.folder!r}: its {self.name} is damaged; delete it and {self._fetch}"
            ) from None
        return assemble(splits[0], splits[1], tuple(split.classes))

    def download(self) -> None:
        from torchvision import datasets  # 2.8 s, here alone

        getattr(datasets, self.source)(self.folder, download=True)

    def _listing(self) -> list[tuple[str, int, int]]:
        """The name, the bytes and the time of the last change of every file."""
        folder = os.path.join(self.folder, self.files)
        if not os.path.isdir(folder):
            raise ConfigError(f"data.folder={self.folder!r}: holds no {self.files}/; {self._fetch}")
        with os.scandir(folder) as entries:
            return sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries)

    @property
    def _fetch(self) -> str:
        return f"fetch it: python -m bench download data={self.name} data.folder={self.folder}"


@dataclass(frozen=True)
class CIFAR10(CIFAR):
    """60,000 images of ten classes."""

    name: ClassVar[str] = "cifar10"
    place: ClassVar[int] = 2
    files: ClassVar[str] = "cifar-10-batches-py"
    source: ClassVar[str] = "CIFAR10"


@dataclass(frozen=True)
class CIFAR100(CIFAR):
    """60,000 images of a hundred classes."""

    name: ClassVar[str] = "cifar100"
    place: ClassVar[int] = 3
    files: ClassVar[str] = "cifar-100-python"
    source: ClassVar[str] = "CIFAR100"
