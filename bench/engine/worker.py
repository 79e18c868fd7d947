"""What the training loop asks of a method: the same for the decoupled worker, the oracle and the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from bench.engine.meter import Meter
from bench.task.contract import Split


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
    first_batch: int = 0
    """Batches of the epoch that lie before."""

    def place(self, batch: int) -> tuple[int, int]:
        """The epoch of a batch of the stretch, and its number in the epoch."""
        return self.epoch, self.first_batch + batch


@dataclass
class Evaluation:
    """Sums over what was judged, by the names that the task's score gives them."""

    sums: dict[str, float] = field(default_factory=dict)

    def __add__(self, other: Evaluation) -> Evaluation:
        names = dict.fromkeys([*self.sums, *other.sums])
        return Evaluation({name: self.sums.get(name, 0.0) + other.sums.get(name, 0.0) for name in names})


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
    """One process's part in training. Called in this order, a stretch at a time, and the last three where an epoch
    ends::

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
        """The mean training loss since it was last asked for, where this process knows it, else None."""

    def agree(self) -> float:
        """Average the statistics over the replicas; return this process's share of the squared consensus distance."""

    def settle(self) -> None:
        """Average the replicas' weights exactly, after the last :meth:`agree`."""

    def evaluate(self, split: Split) -> Evaluation:
        """Evaluate this process's share of the samples of a split, at the replicas' mean weights."""

    def ages(self) -> list[Ages]:
        """The staleness counted while training, of the agents in this process."""

    def network(self) -> dict[str, Tensor]:
        """Parameters and statistics by the names of the uncut network, of replica 0's layers in this process."""

    def state(self) -> dict[str, Any]:
        """All that training from a flush point on depends on, of plain values and tensors: those that are trained
        themselves, and no copies of them."""

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` of a process in this one's place has told, in a run of the same keys."""
