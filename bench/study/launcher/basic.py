"""``launcher=basic``: the points of a sweep one after the other, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.study.launcher.contract import Ending, Launcher

if TYPE_CHECKING:
    from bench.engine.rank import RunFailed
    from bench.study.launcher.agents import Pruned
    from bench.study.launcher.execution import Busy
    from bench.study.launcher.task import Task
    from bench.study.tracking.contract import Tracker


@dataclass(frozen=True)
class Basic(Launcher):
    """One run after the other on this machine, with a bar."""

    name: ClassVar[str] = "basic"
    place: ClassVar[int] = 1
    here: ClassVar[bool] = True

    def run(self, tasks: Sequence[Task], tracker: Tracker, watch: Callable[[], None] | None = None) -> Iterator[Ending]:
        for task in tasks:
            yield task, run_here(task, tracker, watch)


def run_here(task: Task, tracker: Tracker, watch: Callable[[], None] | None = None) -> RunFailed | Pruned | Busy | None:
    """Run a task on this machine to its end, with a bar; return what kept it from its result."""
    from bench.engine.rank import RunFailed
    from bench.study.launcher.agents import Pruned
    from bench.study.launcher.execution import Busy, execute
    from bench.study.launcher.task import stop

    try:
        execute(task, _followed(task, tracker), watch)
    except (RunFailed, Pruned, Busy) as failure:
        return failure
    except KeyboardInterrupt:
        stop(tracker, task)
        raise
    return None


@contextmanager
def _followed(task: Task, tracker: Tracker) -> Iterator[None]:
    """Tell the tracker that the run has begun, and show its progress meanwhile."""
    from bench.study.launcher.progress import Progress
    from bench.study.launcher.task import start

    start(tracker, task)
    with Progress(task.folder, task.title):
        yield
