"""The points of a sweep one after the other, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from bench.engine.rank import RunFailed
from bench.study.launcher.agents import Pruned
from bench.study.launcher.attempt import Busy, attempt, folder_of
from bench.study.launcher.progress import Progress
from bench.study.launcher.task import Ending, Task, start, stop
from bench.study.tracking.tracker import Tracker


class InTurn:
    """One task after the other, on this machine, with a bar."""

    def __init__(self, watch: Callable[[], None] | None) -> None:
        self._watch = watch

    def run(self, tasks: Sequence[Task], tracker: Tracker) -> Iterator[Ending]:
        for task in tasks:
            try:
                attempt(task.config, task.prepared, task.standing, _followed(task, tracker), self._watch)
                yield task, None
            except (RunFailed, Pruned, Busy) as failure:
                yield task, failure
            except KeyboardInterrupt:
                stop(tracker, task.config)
                raise


@contextmanager
def _followed(task: Task, tracker: Tracker) -> Iterator[None]:
    """Tell MLflow that the run has begun, and show its progress meanwhile."""
    start(tracker, task.config)
    with Progress(folder_of(task.config), task.title):
        yield
