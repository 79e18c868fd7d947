"""How long runs take side by side on a cluster's nodes."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import NamedTuple


class Work(NamedTuple):
    """A run, as a cluster sees it."""

    seconds: float
    slots: int
    """Cores or GPUs that it takes meanwhile."""


class Cluster(NamedTuple):
    """Nodes that are alike."""

    nodes: int
    slots: int
    """Cores or GPUs of a node."""

    def nodes_of(self, slots: int) -> int:
        """The number of nodes that a run lies on which takes so many slots."""
        return -(-slots // self.slots)


def makespan(works: Sequence[Work], cluster: Cluster) -> float:
    """The seconds from the first start to the last end.

    Whatever fits is started, in this order; what fits may overtake what does not. A run lies on one node, beside others
    if there is room, or on as many whole ones as it takes.

    Raises:
        ValueError: the cluster is too small for one of them.
    """
    if too_large := [work.slots for work in works if cluster.nodes_of(work.slots) > cluster.nodes]:
        raise ValueError(f"a run takes {max(too_large)} of {cluster.nodes * cluster.slots}")
    free, now = [cluster.slots] * cluster.nodes, 0.0
    running: list[tuple[float, list[int], int]] = []
    waiting: dict[int, deque[tuple[int, float]]] = defaultdict(deque)
    for number, work in enumerate(works):
        waiting[work.slots].append((number, work.seconds))
    while waiting or running:
        while started := _next(waiting, free, cluster):
            work, taken = started
            slots = min(work.slots, cluster.slots)
            for node in taken:
                free[node] -= slots
            heapq.heappush(running, (now + work.seconds, taken, slots))
        now, taken, slots = heapq.heappop(running)
        for node in taken:
            free[node] += slots
    return now


def _next(
    waiting: dict[int, deque[tuple[int, float]]], free: Sequence[int], cluster: Cluster
) -> tuple[Work, list[int]] | None:
    """Take the first of those that wait for which there is room, with the nodes that it gets; None if there is none.

    Args:
        waiting: their numbers and seconds, by the slots that they take.
    """
    for slots in sorted(waiting, key=lambda slots: waiting[slots][0]):
        if taken := _place(slots, free, cluster):
            _, seconds = waiting[slots].popleft()
            if not waiting[slots]:
                del waiting[slots]
            return Work(seconds, slots), taken
    return None


def _place(slots: int, free: Sequence[int], cluster: Cluster) -> list[int]:
    """The nodes that a run takes now: of those with room the fullest; none where there is no room."""
    count, own = cluster.nodes_of(slots), min(slots, cluster.slots)
    room = sorted((node for node, left in enumerate(free) if left >= own), key=lambda node: free[node])
    return room[:count] if len(room) >= count else []
