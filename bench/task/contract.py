"""What a task is: what it counts, what a network's outputs cost, and what networks are judged by.

A data set brings its task (:attr:`bench.task.data.contract.Data.task`), and a record says of it what its readers need,
so that none of them knows of a certain task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.keys import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

Split = Literal["validation", "test"]
"""What a network is judged by and not trained on."""
Sums = Mapping[str, float]
"""Sums over what was judged, by name; each network's score has ``loss`` and ``units``."""


@dataclass(frozen=True)
class Quality:
    """A number that networks are judged by."""

    name: str
    """The metrics that hold it are called ``<name>/validation`` and ``<name>/test``."""
    unit: str
    """``fraction`` is a share of the units, from 0 to 1, and shown in per cent."""
    better: Literal["up", "down"]
    digits: int
    """Decimals where it is shown."""
    margin: float
    """The largest difference that does not matter unless the user says another."""

    @property
    def is_share(self) -> bool:
        return self.unit == "fraction"

    @property
    def worst(self) -> float:
        """What counts for a network that has none, as its run has diverged."""
        return 0.0 if self.better == "up" else math.inf

    @property
    def scale(self) -> float:
        """What it is multiplied by under its :attr:`heading`."""
        return 100.0 if self.is_share else 1.0

    @property
    def heading(self) -> str:
        """What a table for people calls it: a share is told in per cent."""
        return f"{self.name} %" if self.is_share else self.name

    def gain(self, difference: float) -> float:
        """A difference, positive where it is for the better."""
        return difference if self.better == "up" else -difference

    def reaches(self, number: float, target: float) -> bool:
        """Whether a number is at least as good as a target."""
        return self.gain(number - target) >= 0

    def check(self, key: str, number: float | None) -> None:
        """Check what a user has given in its unit.

        Raises:
            ConfigError: it is a share, and the number is not.
        """
        if self.is_share and number is not None and number > 1:
            raise ConfigError(f"{key}={number:g}: must be at most 1, as {self.name} is a share")

    def of(self, split: Split) -> str:
        """The name of the metric that holds it."""
        return f"{self.name}/{split}"

    def shown(self, number: float) -> str:
        """The number for people: a share in per cent, anything else in its unit."""
        return f"{number:.{self.digits}%}" if self.is_share else f"{number:.{self.digits}f}"


class LearningTask:
    """What is learned."""

    unit: ClassVar[str]
    """What is counted, in the singular: ``image``, ``token``."""
    short: ClassVar[str]
    """The same in a heading such as ``img/s``."""
    qualities: ClassVar[tuple[Quality, ...]]
    """What networks are judged by; curves, targets, studies and comparisons go by the first one."""

    def loss(self, outputs: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        """What an update makes smaller: the mean over all units of a batch, or their sum.

        Args:
            outputs: what the network makes of a batch, in the weights' precision.
            targets: what the batch says of it.
            reduction: ``mean`` or ``sum``.
        """
        raise NotImplementedError

    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Sums over a batch that is judged, among them its ``loss`` and its ``units``."""
        raise NotImplementedError

    def judged(self, sums: Sums) -> dict[str, float]:
        """The numbers of a split, by the names of qualities, from the sums over its batches; ``loss`` is among them."""
        raise NotImplementedError
