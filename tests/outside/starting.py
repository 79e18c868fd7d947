from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

from bench.study.launcher.contract import Ending, Launcher, Watch
from bench.study.launcher.running import run_here
from bench.study.launcher.task import Task
from bench.study.tracking.contract import Tracker


@dataclass(frozen=True)
class ShortestFirst(Launcher):
    """One run after the other on this machine, those of few epochs first."""

    name: ClassVar[str] = "shortest_first"

    def run(self, waiting: list[Task], tracker: Tracker, watch: Watch | None = None) -> Generator[Ending, None, None]:
        while waiting:
            task = min(waiting, key=lambda task: task.config.epochs)
            waiting.remove(task)
            yield task, run_here(task, tracker, watch)
