"""The grid of agents, S replicas by K stages, and the graphs on which replicas gossip.

A rank is ``replica * K + stage``, so that the stages of a replica, which talk the most, are neighbours on a machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Graph = Literal["ring", "exponential", "complete"]


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


def neighbours(graph: Graph, replicas: int, replica: int) -> list[int]:
    """Replicas that ``replica`` exchanges weights with, itself left out, in increasing order.

    - ``ring``: one step either way (Lian et al. 2017, D-PSGD, arXiv 1705.09056).
    - ``exponential``: 1, 2, 4, ... steps either way. Ying et al. 2021 (arXiv 2110.13363) send one way only; here every
      edge carries both ways, so that the mixing matrix is symmetric.
    - ``complete``: everybody.
    """
    around = {(replica + step) % replicas for step in _steps(graph, replicas)}
    around |= {(replica - step) % replicas for step in _steps(graph, replicas)}
    return sorted(around - {replica})


def mixing_matrix(graph: Graph, replicas: int) -> NDArray[np.float64]:
    """Weights [S, S] of one round of gossip: row s is what replica s makes its new weights of.

    Each replica weighs itself and its d neighbours alike, 1 / (d + 1). As all have equally many neighbours, these are
    the Metropolis weights (Xiao and Boyd 2004), and the matrix is symmetric and doubly stochastic.
    """
    matrix = np.zeros((replicas, replicas))
    for replica in range(replicas):
        group = [replica, *neighbours(graph, replicas, replica)]
        matrix[replica, group] = 1 / len(group)
    return matrix


def spectral_gap(matrix: NDArray[np.float64]) -> float:
    """1 - max(abs(lambda_2), abs(lambda_S)) of a symmetric doubly stochastic matrix [S, S].

    A round of gossip shrinks the replicas' distance from their mean at least by the factor 1 - gap (Lian et al. 2017):
    1 is exact averaging in one round, 0 never agrees.
    """
    others = np.linalg.eigvalsh(matrix)[:-1]
    return 1 - float(np.max(np.abs(others), initial=0))


def _steps(graph: Graph, replicas: int) -> list[int]:
    """The distances around the circle of replicas that an edge spans."""
    match graph:
        case "ring":
            return [1]
        case "exponential":
            return [2**power for power in range((replicas - 1).bit_length())]
        case "complete":
            return list(range(1, replicas))
