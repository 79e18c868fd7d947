"""Batches as a function of (seed, epoch, index, replica): both ends of a pipeline derive the same one."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from bench.task.contract import Split


class Judged(ABC):
    """The batches of a split that a network is judged by, which every replica sees whole."""

    batches: int

    @abstractmethod
    def inputs(self, index: int) -> Tensor:
        """What the network takes; the last batch repeats its last sample until it is as large as the others."""

    @abstractmethod
    def targets(self, index: int) -> Tensor:
        """What the task says of these inputs."""

    @abstractmethod
    def valid(self, index: int) -> int:
        """How many samples of the batch count; those after them are repeats."""


class Batches(ABC):
    """One replica's batches, made on the run's device. They never alias one another or the data set."""

    batch_size: int
    """Samples of a batch."""
    batches: int
    """The number of batches in an epoch."""
    judged: dict[Split, Judged]

    @abstractmethod
    def inputs(self, epoch: int, index: int) -> Tensor:
        """What the network takes of a batch, its samples first."""

    @abstractmethod
    def targets(self, epoch: int, index: int) -> Tensor:
        """What the task says of these inputs, its samples first."""


def generator(purpose: str, *parts: int) -> torch.Generator:
    """Make a generator keyed by a hash, so that neighbouring seeds, epochs and steps draw independently."""
    text = "/".join([purpose, *map(str, parts)])
    key = hashlib.blake2b(text.encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(key))
