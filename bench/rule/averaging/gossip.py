"""``averaging=gossip``: the replicas of a stage average their weights with neighbours on a graph (Lian et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.rule.averaging.contract import Averaging

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Graph = Literal["ring", "exponential", "complete"]


@dataclass(frozen=True)
class Gossip(Averaging):
    """Weights are averaged with the neighbours on a graph after every update."""

    name: ClassVar[str] = "gossip"
    place: ClassVar[int] = 2
    graph: Graph
    """Who is whose neighbour: see :func:`neighbours`."""

    def mixing(self, replicas: int) -> NDArray[np.float64]:
        return mixing_matrix(self.graph, replicas)


def neighbours(graph: Graph, replicas: int, replica: int) -> list[int]:
    """Return the replicas that ``replica`` exchanges weights with, itself left out, in increasing order.

    - ``ring``: one step either way (Lian et al. 2017, D-PSGD, arXiv 1705.09056).
    - ``exponential``: 1, 2, 4, ... steps either way. Ying et al. 2021 (arXiv 2110.13363) send one way only; here every
      edge carries both ways, so that the mixing matrix is symmetric.
    - ``complete``: everybody.
    """
    around = {(replica + step) % replicas for step in _steps(graph, replicas)}
    around |= {(replica - step) % replicas for step in _steps(graph, replicas)}
    return sorted(around - {replica})


def mixing_matrix(graph: Graph, replicas: int) -> NDArray[np.float64]:
    """Return the weights [S, S] of one round of gossip: row s is what replica s makes its new weights of.

    Each replica weighs itself and its d neighbours alike, 1 / (d + 1). As all have equally many neighbours, these are
    the Metropolis weights (Xiao and Boyd 2004), and the matrix is symmetric and doubly stochastic.
    """
    import numpy as np  # the command line checks a configuration without it

    matrix = np.zeros((replicas, replicas))
    for replica in range(replicas):
        group = [replica, *neighbours(graph, replicas, replica)]
        matrix[replica, group] = 1 / len(group)
    return matrix


def _steps(graph: Graph, replicas: int) -> list[int]:
    """The distances around the circle of replicas that an edge spans."""
    match graph:
        case "ring":
            return [1]
        case "exponential":
            return [2**power for power in range((replicas - 1).bit_length())]
        case "complete":
            return list(range(1, replicas))
