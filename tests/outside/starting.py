from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bench.study.launcher.basic import run_here
from bench.study.launcher.contract import Ending, Launcher
from bench.study.launcher.task import Task
from bench.study.tracking.contract import Tracker


@dataclass(frozen=True)
class ShortestFirst(Launcher):
    """One run after the other on this machine, those of few epochs first."""

    name: ClassVar[str] = "shortest_first"
    here: ClassVar[bool] = True

    def run(self, tasks: Sequence[Task], tracker: Tracker, watch: Callable[[], None] | None = None) -> Iterator[Ending]:
        for task in sorted(tasks, key=lambda task: task.config.epochs):
            yield task, run_here(task, tracker, watch)
