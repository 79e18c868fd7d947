"""The grid of agents, S replicas by K stages, and the graphs on which replicas gossip.

A rank is ``replica * K + stage``, so that the stages of a replica, which talk the most, are neighbours on a machine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Tells who is who among the ranks ``0 .. size - 1``.

    Raises:
        ValueError: a field is below 1.
    """

    stages: int
    """K: pieces that the network is cut into."""
    replicas: int
    """S: copies of the whole pipeline."""

    def __post_init__(self) -> None:
        if self.stages < 1:
            raise ValueError(f"stages={self.stages} must be at least 1")
        if self.replicas < 1:
            raise ValueError(f"replicas={self.replicas} must be at least 1")

    @property
    def size(self) -> int:
        """The number of agents in all."""
        return self.stages * self.replicas

    def rank(self, replica: int, stage: int) -> int:
        return replica * self.stages + stage

    def stage(self, rank: int) -> int:
        return rank % self.stages

    def replica(self, rank: int) -> int:
        return rank // self.stages

    def previous(self, rank: int) -> int | None:
        """The rank of the stage before, in the same replica: activations come from it; None in the first stage."""
        return rank - 1 if self.stage(rank) > 0 else None

    def next(self, rank: int) -> int | None:
        """The rank of the stage after, in the same replica: gradients come from it; None in the last stage."""
        return rank + 1 if self.stage(rank) < self.stages - 1 else None

    def peers(self, stage: int) -> list[int]:
        """Ranks that hold ``stage``, one per replica, in the order of the replicas."""
        return [self.rank(replica, stage) for replica in range(self.replicas)]

    def line(self, replica: int) -> list[int]:
        """Ranks of one replica, in the order of the stages."""
        return [self.rank(replica, stage) for stage in range(self.stages)]
