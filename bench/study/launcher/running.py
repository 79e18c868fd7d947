"""A task on this machine: run to its end, told of and shown meanwhile."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from bench.engine.rank import RunFailed
from bench.study.launcher.agents import Pruned
from bench.study.launcher.contract import Watch
from bench.study.launcher.execution import Busy, execute
from bench.study.launcher.progress import Progress
from bench.study.launcher.task import Task, start, stop
from bench.study.tracking.contract import Tracker


def run_here(task: Task, tracker: Tracker, watch: Watch | None = None) -> RunFailed | Pruned | Busy | None:
    """Run a task on this machine to its end, with a bar; return what kept it from its result."""
    try:
        execute(task, _followed(task, tracker), functools.partial(watch, task) if watch else None)
    except (RunFailed, Pruned, Busy) as failure:
        return failure
    except KeyboardInterrupt as interruption:
        stop(tracker, task, str(interruption))
        raise
    return None


@contextmanager
def _followed(task: Task, tracker: Tracker) -> Iterator[None]:
    """Tell the tracker that the run has begun, and show its progress meanwhile."""
    start(tracker, task)
    with Progress(task.folder, task.title):
        yield
