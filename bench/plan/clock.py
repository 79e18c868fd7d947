"""The pipeline clock: which batch each stage runs forward and backward in each tick, and how stale its gradients are.

The only home of delay arithmetic. Three stages, ``staleness`` 2 and six batches (``F1B0``: forward of batch 1 and
backward of batch 0, ``.``: idle)::

    tick     0     1     2     3     4     5     6     7     8     9
    stage 0  F0    F1    F2    F3    F4B0  F5B1  B2    B3    B4    B5
    stage 1  .     F0    F1    F2B0  F3B1  F4B2  F5B3  B4    B5    .
    stage 2  .     .     F0B0  F1B1  F2B2  F3B3  F4B4  F5B5  .     .

Source: fully decoupled parallel backpropagation as in Pham and Ahn 2025 (arXiv 2509.05679), with the delay of a stage
boundary set free: 0 is back-propagation, 1 is DDG (Huo et al. 2018, arXiv 1804.10574), 2 is FDG (Zhuang et al. 2021,
arXiv 1906.09108).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

SPARE = 2
"""Messages that may be under way beyond a hop: the depth of the channels between the stages."""


@dataclass(frozen=True)
class Clock:
    """The schedule of one flush-to-flush stretch of training. Stages, ticks and batches count from 0.

    Raises:
        ValueError: a field is out of range.
    """

    stages: int
    """K: pieces that the network is cut into, at least 1."""
    staleness: int
    """c: ticks of delay per stage boundary, forward and backward hop together, at least 0."""
    batches: int
    """N: batches between two flush points, at least 0."""
    together: bool = False
    """Whether all stages update by a batch in one tick, as each waits for what the others have of its gradient."""

    def __post_init__(self) -> None:
        if self.stages < 1:
            raise ValueError(f"stages={self.stages} must be at least 1")
        if self.staleness < 0:
            raise ValueError(f"staleness={self.staleness} must be at least 0")
        if self.batches < 0:
            raise ValueError(f"batches={self.batches} must be at least 0")

    @property
    def forward_hop(self) -> int:
        """f: ticks from a batch's forward in a stage to its forward in the next stage.

        All of the delay where backwards must be in one tick. A stage's own order of passes is the same: a forward and a
        backward of a tick are ``lag`` batches apart, however the delay is shared out.
        """
        return self.staleness if self.together else self.staleness // 2

    @property
    def backward_hop(self) -> int:
        """b: ticks from a batch's backward in a stage to its backward in the previous stage."""
        return self.staleness - self.forward_hop

    @property
    def ticks(self) -> int:
        """Ticks until the pipeline is empty again: stage 0 is the last to finish, its lag after the last forward."""
        return self.batches + self.lag(0) if self.batches else 0

    def forward(self, stage: int, tick: int) -> int | None:
        """The batch that ``stage`` runs forward in ``tick``, or None."""
        return self._existing(tick - self.first_forward(stage))

    def backward(self, stage: int, tick: int) -> int | None:
        """The batch that ``stage`` runs backward, and updates its weights with, in ``tick``, or None."""
        return self._existing(tick - self.first_backward(stage))

    def first_forward(self, stage: int) -> int:
        """The tick in which ``stage`` runs batch 0 forward."""
        return self.forward_hop * stage

    def first_backward(self, stage: int) -> int:
        """The tick in which ``stage`` runs batch 0 backward."""
        return self.first_forward(stage) + self.lag(stage)

    def lag(self, stage: int) -> int:
        """Ticks from a batch's forward in ``stage`` to its backward there: one round trip to the last stage."""
        return self.staleness * (self.stages - 1 - stage)

    def busy(self, *stages: int) -> list[int]:
        """Ticks in which one of ``stages`` has a pass to run, in order: two a batch at most, however long the lag."""
        starts = [first(stage) for stage in stages for first in (self.first_forward, self.first_backward)]
        return sorted({tick for start in starts for tick in range(start, start + self.batches)})

    def versions(self, stage: int) -> int:
        """Weight versions that ``stage`` holds at most: those that the latest batch is stale by, and the current."""
        return self.staleness_of(stage, max(self.batches - 1, 0)) + 1

    def in_flight(self, stage: int, replicas: int) -> int:
        """Batches that ``stage`` holds when a backward begins: between their forward and their backward, or in it.

        F - B + 1 of them where the forward of the tick has been, as ``forward_first`` says, and no more than there are.
        """
        return min(self.lag(stage) + (1 if self.forward_first(stage, replicas) else 0), self.batches)

    def staleness_of(self, stage: int, batch: int) -> int:
        """Updates between the weights that the gradient of ``batch`` is taken at and those that it is applied to.

        A forward sees the updates of the ticks before its own. The forward of batch i lies lag(stage) ticks before its
        backward, so it sees the updates by batches ``0 .. i - lag - 1``, none while the pipeline fills; its own update
        comes after those by batches ``0 .. i - 1``. Hence ``i - max(0, i - lag) = min(i, lag)``. Draining changes
        nothing: every batch still finds all its predecessors applied, and no successor.
        """
        return min(batch, self.lag(stage))

    def histogram(self, stage: int) -> dict[int, int]:
        """How many batches meet each staleness, in updates, in ``stage``; by increasing staleness."""
        return dict(Counter(self.staleness_of(stage, batch) for batch in range(self.batches)))

    def table(self) -> list[list[tuple[int | None, int | None]]]:
        """The whole schedule: ``table[tick][stage]`` is (batch run forward, batch run backward)."""
        return [
            [(self.forward(stage, tick), self.backward(stage, tick)) for stage in range(self.stages)]
            for tick in range(self.ticks)
        ]

    def room_forward(self, stage: int) -> tuple[int, int]:
        """How many activations may be under way into ``stage``, and held by it until their backward is over."""
        return self._room(self.forward_hop, self.lag(stage) + 1)

    def room_backward(self) -> tuple[int, int]:
        """How many gradients may be under way into a stage, and held by it."""
        return self._room(self.backward_hop, 1)

    def forward_first(self, stage: int, replicas: int) -> bool:
        """Whether ``stage`` runs a tick's forward before its backward, where ``replicas`` average their gradients.

        It must where both belong to the same batch (no lag: always so in the last stage).

        It also must where the forward hop is 0 (DDG), or the last two stages would take turns: in every tick the last
        stage waits for the forward of the one before it, which would wait for its own backward, which waits for the
        last stage's backward of the tick before.

        Elsewhere the order is free and changes no bit, as the forward uses the weights from before this tick's update
        either way. With several replicas the backward comes first, so that averaging its gradient hides behind the
        forward. A single replica has nothing to hide; with the forward first, an activation has the length of a
        backward and a gradient the length of a forward to arrive in before the next stage wants it. Where the stages
        update together, a forward hides in the time in which the later stages go backward.
        """
        return self.lag(stage) == 0 or self.forward_hop == 0 or replicas == 1 or self.together

    def _room(self, hop: int, held: int) -> tuple[int, int]:
        """The messages under way and held: together no more than there are.

        With a hop's and ``SPARE`` no stage waits for a slot in a full pipeline. To get on at all takes fewer: what is
        held and, of activations where the stages update together, one less than a hop's beside it.
        """
        depth = min(hop + SPARE, self.batches)
        return depth, min(held, self.batches - depth)

    def _existing(self, batch: int) -> int | None:
        return batch if 0 <= batch < self.batches else None
