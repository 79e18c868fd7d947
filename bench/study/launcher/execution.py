"""One run in its folder: alone there, from a clean start, and never without a word on how it ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from filelock import FileLock, Timeout

from bench.config import RunConfig
from bench.engine.rank import RunFailed
from bench.record.environment import environment
from bench.record.folder import RecordError, RunFolder
from bench.record.runs_dir import known_record
from bench.record.version import is_current
from bench.study.launcher.agents import Pruned, launch
from bench.study.launcher.devices import oversubscribed
from bench.study.launcher.restarts import with_restarts
from bench.study.launcher.task import Task, label
from bench.study.report.figure import drawn
from bench.system.signals import Stopped

COLOCATED = {"event": "colocated"}
"""What a run's events say of other runs beside it; one that goes on from a checkpoint has had them from then on."""


class Busy(RuntimeError):
    """Another process is at the same run."""


def execute(task: Task, following: AbstractContextManager[object], watch: Callable[[], None] | None = None) -> None:
    """Run a point, unless another process has given it a record meanwhile.

    Args:
        following: entered once the run's folder is this process's alone, with nothing in it but what the run goes on
            from; left when the training has ended.
        watch: called while the run trains, as :func:`launch` does.

    Raises:
        RunFailed: a rank failed.
        Pruned: ``watch`` has ended it.
        Busy: another process is at it.
        Interrupted: the user wants the end; Stopped where it was announced, and the run goes on from a checkpoint.
    """
    config, folder = task.config, task.folder
    try:
        with run_lock(folder):
            if not task.again and (known := known_record(folder)) and is_current(known):
                return
            folder.clear(go_on=not task.anew)
            problem: str | None = None
            with _one_ending(config, folder), following:
                if task.colocated:
                    folder.append(COLOCATED)
                around = environment(oversubscribed(config), _had_company(folder))
                known = {"environment": around, "rates": task.assessment.record()}
                known |= {"metrics": task.assessment.metrics()}
                problem = with_restarts(
                    lambda: launch(config, task.prepared, folder, known, watch, task.pin, task.checkpoint),
                    folder,
                    task.restarts,
                    label(config),
                )
            if problem is not None:
                print(f"{label(config)}: {problem}", file=sys.stderr)
            else:
                picture(folder)
    except OSError as error:
        raise RunFailed(str(error)) from None


@contextmanager
def _one_ending(config: RunConfig, folder: RunFolder) -> Iterator[None]:
    """Begin a run in its folder, and leave that with its result, or with why there is none where that can be written;
    never with both."""
    try:
        folder.begin(config.resolved())
        yield
    except (RunFailed, Pruned, OSError, KeyboardInterrupt) as error:
        pruned, interrupted = isinstance(error, Pruned), isinstance(error, KeyboardInterrupt)
        if not folder.record.exists():
            message = "interrupted" if interrupted and not isinstance(error, Stopped) else str(error)
            with suppress(OSError):
                folder.write_failure(message, "killed" if interrupted else "pruned" if pruned else "failed")
            if pruned:
                folder.checkpoints.clear()  # nobody goes on with it
        elif isinstance(error, RunFailed | OSError):
            print(f"{label(config)}: has its record, and then {str(error).splitlines()[0]}", file=sys.stderr)
            return
        raise


@contextmanager
def run_lock(folder: RunFolder, wait: bool = False) -> Iterator[None]:
    """Hold a run's folder; the system lets go of it when this process ends, however it ends.

    Raises:
        Busy: another process holds it, and this one is not to wait.
    """
    try:
        # A soft lock, for a file system that has no others, would outlive a process that is killed.
        held = FileLock(folder.lock, fallback_to_soft=False).acquire(blocking=wait)
    except Timeout:
        raise Busy(f"another process is running it, in {folder.path}") from None
    with held:
        yield


def _had_company(folder: RunFolder) -> bool:
    """Whether other runs have trained beside the one in a folder, now or before it was resumed."""
    with suppress(RecordError):
        return any(event["event"] == COLOCATED["event"] for event in folder.events())
    return False


def picture(folder: RunFolder) -> None:
    """Draw a run's timeline, if it has one; where that fails, one line says so."""

    def draw_it() -> None:
        from bench.study.report.timeline import draw

        draw(json.loads(folder.timeline.read_text()), folder.picture)

    if folder.timeline.exists():
        drawn(folder.picture, draw_it)
