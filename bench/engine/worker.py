"""What the training loop asks of a method: the same for the decoupled worker, the oracle and the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from bench.engine.meter import Meter
from bench.task.dataset import Split


@dataclass(frozen=True)
class Stretch:
    """A piece of training between two flush points."""

    epoch: int
    batches: int
    """Updates that every stage makes."""
    first_step: int
    """Updates that every stage made before."""
    rates: Sequence[Sequence[float]]
    """Learning rates, as ``rates[stage][update]``."""


@dataclass
class Evaluation:
    """Sums over images: of their losses, of how many were told right, and of how many there were."""

    loss: float = 0.0
    correct: int = 0
    images: int = 0

    def __add__(self, other: Evaluation) -> Evaluation:
        return Evaluation(self.loss + other.loss, self.correct + other.correct, self.images + other.images)


@dataclass(frozen=True)
class Ages:
    """The staleness that one stage of one replica met, in updates between taking a gradient's weights and applying it;
    and the weights that it keeps for it."""

    stage: int
    replica: int
    histogram: dict[int, int]
    """How many batches met a staleness of so many updates."""
    versions: int | None
    """Versions of its weights that there is memory for; None for the oracle, which keeps them while they are wanted."""


class Worker(Protocol):
    """One process's part in training. Called in this order, an epoch at a time::

    ticks = begin(stretch); step(tick) for each of them; flush(); loss(); agree(); evaluate()
    """

    meter: Meter

    def begin(self, stretch: Stretch) -> Sequence[int]:
        """Get ready for a stretch of training; return the ticks that this process has work in, in order."""

    def step(self, tick: int) -> None:
        """Train for one tick."""

    def flush(self) -> None:
        """Wait, after the last tick, until nothing is under way."""

    def loss(self) -> float | None:
        """The mean training loss of the stretch, where this process knows it, else None."""

    def agree(self) -> float:
        """Average the statistics over the replicas; return this process's share of the squared consensus distance."""

    def settle(self) -> None:
        """Average the replicas' weights exactly, after the last :meth:`agree`."""

    def evaluate(self, split: Split) -> Evaluation:
        """Evaluate this process's share of the images of a split, at the replicas' mean weights."""

    def ages(self) -> list[Ages]:
        """The staleness counted while training, of the agents in this process."""

    def state(self) -> dict[str, Tensor]:
        """Parameters and statistics by the names of the uncut network, of replica 0's layers in this process."""
