"""``launcher=local``: the points of a sweep on this machine, one after the other or side by side."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from bench.keys import Count
from bench.study.launcher.contract import Ending, Launcher, Watch

if TYPE_CHECKING:
    from bench.config import RunConfig
    from bench.study.launcher.task import Task
    from bench.study.tracking.contract import Tracker


@dataclass(frozen=True)
class Local(Launcher):
    """Runs on this machine, so many at once, each with cores or GPUs of its own."""

    name: ClassVar[str] = "local"
    place: ClassVar[int] = 1
    parallel: Count | Literal["auto"]
    """The largest number of runs at once; ``auto``: as many as there are cores, or GPUs, for."""

    @property
    def here(self) -> bool:
        return self.parallel == 1

    def slots(self, configs: Sequence[RunConfig]) -> int:
        from bench.study.launcher.colocation import needs, placement

        return 1 if self.here else placement(configs, self._most).at_once(needs(configs))

    def alone(self) -> Self:
        return replace(self, parallel=1)

    def run(self, waiting: list[Task], tracker: Tracker, watch: Watch | None = None) -> Generator[Ending, None, None]:
        from bench.study.launcher.colocation import placement, side_by_side
        from bench.study.launcher.running import run_here

        if not self.here:
            room = placement([task.config for task in waiting], self._most)
            yield from side_by_side(waiting, room, tracker, watch)
        while waiting:
            task = waiting.pop(0)
            yield task, run_here(task, tracker, watch)

    @property
    def _most(self) -> int | None:
        return None if self.parallel == "auto" else self.parallel
