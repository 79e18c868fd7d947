"""``launcher=local``: the points of a sweep on this machine, one after the other or side by side."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from bench.engine.seat import under_torchrun
from bench.study.launcher.contract import Ending, Launcher, Watch

if TYPE_CHECKING:
    from bench.config import RunConfig
    from bench.study.launcher.task import Task
    from bench.study.tracking.contract import Tracker


def _parallel(value: object) -> object:
    """Refuse what is no number of runs, in one message for both of its types."""
    if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise PydanticCustomError("parallel", "must be 'auto' or a number of at least 1")
    return value


@dataclass(frozen=True)
class Local(Launcher):
    """Runs on this machine, so many at once, each with cores or GPUs of its own."""

    name: ClassVar[str] = "local"
    place: ClassVar[int] = 1
    parallel: Annotated[int | Literal["auto"], BeforeValidator(_parallel)]
    """The largest number of runs at once, of those that there are cores, or GPUs, for; ``auto``: all of them. One that
    needs more than there are runs by itself; torchrun's only run has what torchrun gives it."""

    @property
    def here(self) -> bool:
        return self.parallel == 1 or under_torchrun()

    def slots(self, configs: Sequence[RunConfig]) -> int:
        from bench.study.launcher.colocation import needs, placement

        return 1 if self.here else placement(configs, self._most).at_once(needs(configs))

    def span(self, configs: Sequence[RunConfig], seconds: Sequence[float]) -> float:
        from bench.study.launcher.colocation import needs, placement

        return sum(seconds) if self.here else placement(configs, self._most).span(needs(configs), seconds)

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
