"""What every data set is: read once, and kept as a file that every rank maps.

The parent process calls :meth:`Data.prepare`, which may decode and keep; ranks call :meth:`Data.load`, which maps what
was kept, so that they share its pages and import no decoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.choice import Choice, choices
from bench.keys import ConfigError, Fraction
from bench.task.classification import IMAGES
from bench.task.contract import LearningTask

if TYPE_CHECKING:
    from bench.task.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class Data(Choice):
    """What is learned from."""

    group: ClassVar[str] = "data"
    task: ClassVar[LearningTask] = IMAGES
    """What is learned from it."""
    validation: Fraction = 0.1
    """The share of what there is to train on that no update sees, and that flush points judge by; 0: they judge by what
    the network is tested by."""

    @property
    def augments(self) -> bool:
        """Whether training images are cropped and mirrored at random: the key ``augment``, where there is one."""
        return bool(getattr(self, "augment", False))

    def read(self) -> Dataset:
        """Return the data, nothing held out; the same in every process.

        Raises:
            ConfigError: it is missing, incomplete, damaged or larger than the memory.
        """
        raise NotImplementedError

    def prepare(self) -> Path | None:
        """Read and keep the data in a file, unless there is one; None where every process reads them by itself.

        The file lies in ``<folder>/.staleness-bench/`` or, where that cannot be written, in the user's cache folder. It
        is named after what it was made from and replaced atomically, so processes may prepare the same data at once.

        Raises:
            ConfigError: as of :meth:`read`, or there is nowhere to keep the file.
        """
        return None

    def load(self, prepared: Path | None = None) -> Dataset:
        """Return the data, mapped from the file that :meth:`prepare` returned; without one, from what it returns now.

        Raises:
            ConfigError: the file is damaged by now, or the share for validation leaves nothing; without a file, as of
                :meth:`prepare`.
            TypeError: :meth:`read` returned no data set.
        """
        from bench.task.cache import Damaged, opened
        from bench.task.dataset import Dataset

        path = prepared or self.prepare()
        try:
            whole = self.read() if path is None else opened(path)
        except Damaged as error:
            raise ConfigError(f"data.name={self.name!r}: {error}") from None
        if not isinstance(whole, Dataset):
            raise TypeError(f"read returned {type(whole).__name__}, and no Dataset")
        try:
            return whole.hold_out(self.validation)
        except ValueError as error:
            raise ConfigError(
                f"data.validation={self.validation}: {error}; allowed is 0 and what leaves some"
            ) from None

    def sizes(self) -> Mapping[str, object]:
        """Return the keys that a sample's size and a network's outputs follow from, with their values."""
        return {}

    def download(self) -> None:
        """Fetch the data, by the user's own command.

        Raises:
            ConfigError: it is not data that can be fetched.
            OSError, RuntimeError: the download failed, or what arrived is damaged.
        """
        known = [name for name, kind in choices(Data).items() if kind.download is not Data.download]
        allowed = " and ".join(map(repr, known))
        raise ConfigError(f"data.name={self.name!r}: allowed for a download are {allowed}")
