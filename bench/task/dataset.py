"""What every loaded data set is, whatever is learned from it: samples to train on, and splits to be judged by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from bench.keys import ConfigError
from bench.task.contract import LearningTask, Quality, Split, Sums
from bench.task.judgement import Judgement

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bench.task.batches import Batches

Shape = tuple[int, ...]
"""What a network takes of one sample: channels, height and width of an image, or the tokens that it sees at once."""


class Placed(NamedTuple):
    """Where batches are made, and of what."""

    device: torch.device
    dtype: torch.dtype
    """The type of the weights, and of inputs that are not whole numbers."""
    channels_last: bool = False


class Draw(NamedTuple):
    """What a replica's batches follow from."""

    seed: int
    batch_size: int
    """Samples of a batch."""
    replica: int = 0
    replicas: int = 1


class Dataset(ABC):
    """What a network learns from and is judged by."""

    task: ClassVar[LearningTask]
    kind: ClassVar[str]
    """What a kept file calls such data sets."""
    sample: ClassVar[str]
    """What people call a sample, in the singular."""
    digest: str
    """Hexadecimal digest of all its content: two data sets with one digest are equal."""

    @property
    @abstractmethod
    def input_shape(self) -> Shape:
        """What a network takes of one sample."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Numbers that a network tells of every unit: the classes, or the tokens of the vocabulary."""

    @property
    @abstractmethod
    def samples(self) -> int:
        """Samples that updates are made with in an epoch."""

    @property
    @abstractmethod
    def sizes(self) -> Mapping[str, int]:
        """The units of each split: ``train``, which updates are made with, ``validation`` and ``test``."""

    @property
    def judged_by(self) -> Split:
        """What a run is judged by at flush points: where nothing is held out, what it is tested by."""
        return "validation" if self.sizes["validation"] else "test"

    @abstractmethod
    def hold_out(self, share: float) -> Dataset:
        """The same with a share of what there is to train on for validation, the same one in every process.

        Raises:
            ValueError: nothing would be left, for validation or for training.
        """

    def in_windows(self, window: int) -> Dataset:  # noqa: ARG002
        """The same, cut as a network takes it that sees so many units at once; images are as they are.

        Raises:
            ConfigError: there are fewer units in a split.
        """
        return self

    @abstractmethod
    def batches(self, draw: Draw, placed: Placed, *, augment: bool = False) -> Batches:
        """A replica's batches.

        Raises:
            ConfigError: see :func:`check_batch_size`.
        """

    @abstractmethod
    def example(self, samples: int, device: torch.device) -> Tensor:
        """An input of so many samples, of no certain content, for what follows from its shape."""

    @property
    def judgement(self) -> Judgement:
        """What a record says of its task."""
        return Judgement.of(self.task)

    @property
    def qualities(self) -> tuple[Quality, ...]:
        """What it tells of a network's worth; the first one is the task's first."""
        return self.task.qualities

    def judged(self, split: Split, sums: Sums) -> dict[str, float]:  # noqa: ARG002
        """What a network is worth by a split, by the names of qualities, from the sums over it."""
        return self.task.judged(sums)

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Describe it for a record: its digest, ``<split>_<units>`` for each split, and what else tells it from others
        of its kind."""

    @abstractmethod
    def content(self) -> dict[str, Any]:
        """All that a kept file holds of it, of plain values and tensors, whatever is held out and however it is cut."""

    @classmethod
    @abstractmethod
    def of_content(cls, content: dict[str, Any]) -> Dataset:
        """The data set that a kept file holds."""

    @abstractmethod
    def check(self) -> None:
        """Check that the content is whole, by its digest and all else that follows from it.

        Raises:
            ValueError: it is not.
        """


def check_held_out(of: int, held_out: int, what: str) -> None:
    """Refuse a share for validation that leaves nothing, for it or for training.

    Args:
        of: how many there are to train on in all.
        what: what they are, for people.

    Raises:
        ValueError: it does.
    """
    if not 0 < held_out < of:
        raise ValueError(f"of {of} training {what} {held_out} would be for validation")


def batches_per_epoch(samples: int, batch_size: int, replicas: int) -> int:
    """The number of batches of one replica in an epoch; what is left over is dropped."""
    return samples // (replicas * batch_size)


def check_batch_size(dataset: Dataset, batch_size: int, replicas: int) -> None:
    """Refuse an epoch without a single batch.

    Raises:
        ConfigError: the replicas together want more samples per tick than there are.
    """
    samples, what = dataset.samples, f"training {dataset.sample}s"
    if replicas > samples:
        raise ConfigError(f"replicas={replicas}: may be at most {samples}, the number of {what}")
    if batch_size * replicas > samples:
        reason = f"the data has {samples} {what} for replicas={replicas}"
        raise ConfigError(f"batch_size={batch_size}: may be at most {samples // replicas}; {reason}")
