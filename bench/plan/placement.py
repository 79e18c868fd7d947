"""Which runs go at once on one machine, and on which of its cores or GPUs."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Need(NamedTuple):
    """What a run takes while it lasts."""

    kind: str
    """What it takes units of: ``cpu`` for cores, ``cuda`` for GPUs."""
    units: int


class Spot(NamedTuple):
    """Where a run is."""

    kind: str
    units: tuple[str, ...]
    """Its own units; none where it needs more than there are, and has the whole machine."""


class Placement:
    """A machine's units, of each kind, and the runs that are on them: no unit has two.

    A run that needs more units than there are goes by itself, when nothing else is there.

    Args:
        machine: the names of the units, by kind.
        most: the largest number of runs at once; None: as many as the units hold.
    """

    def __init__(self, machine: Mapping[str, Sequence[str]], most: int | None = None) -> None:
        self._free = {kind: list(units) for kind, units in machine.items()}
        self._count = {kind: len(units) for kind, units in machine.items()}
        self._most = most
        self._taken: list[Spot] = []

    def place(self, waiting: Sequence[Need]) -> tuple[int, Spot] | None:
        """Give the first of those that wait for which there is room its spot.

        Returns:
            Its index among them and the spot; None where there is room for none.
        """
        for index, need in enumerate(waiting):
            if (spot := self._spot(need)) is not None:
                self._free[need.kind] = self._free[need.kind][len(spot.units) :]
                self._taken.append(spot)
                return index, spot
        return None

    def release(self, spot: Spot) -> None:
        """Take back the spot of a run that has ended."""
        self._taken.remove(spot)
        self._free[spot.kind] += spot.units

    def at_once(self, needs: Sequence[Need]) -> int:
        """The largest number of these runs that an empty machine holds at once."""
        empty = Placement({kind: ["unit"] * count for kind, count in self._count.items()}, self._most)
        smallest_first = sorted(needs, key=lambda need: (need.units > self._count[need.kind], need.units))
        return sum(empty.place([need]) is not None for need in smallest_first)

    def span(self, needs: Sequence[Need], seconds: Sequence[float]) -> float:
        """Seconds from the start of the first of these runs to the end of the last, where they are placed in this order
        as soon as there is room, and nothing else is there."""
        waiting, running, now = list(zip(needs, seconds, strict=True)), list[tuple[float, Spot]](), 0.0
        while waiting or running:
            while found := self.place([need for need, _ in waiting]):
                index, spot = found
                heapq.heappush(running, (now + waiting.pop(index)[1], spot))
            now, spot = heapq.heappop(running)
            self.release(spot)
        return now

    def fits(self, needs: Sequence[Need]) -> bool:
        """Whether there is room for one of these runs now."""
        return any(self._spot(need) is not None for need in needs)

    def _spot(self, need: Need) -> Spot | None:
        whole = any(not spot.units for spot in self._taken)
        if whole or (self._most is not None and len(self._taken) >= self._most):
            return None
        if need.units > self._count[need.kind]:
            return Spot(need.kind, ()) if not self._taken else None
        free = self._free[need.kind]
        return Spot(need.kind, tuple(free[: need.units])) if len(free) >= need.units else None
