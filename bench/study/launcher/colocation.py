"""Tasks side by side on this machine, each in processes that keep to cores or GPUs of their own.

A thread for each task waits for its processes; the first one, which alone hears signals, starts them and yields how
they end. What ends that ends the others.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Generator, Sequence
from dataclasses import replace

from bench.config import RunConfig
from bench.plan.placement import Need, Placement, Spot
from bench.study.launcher.contract import Ending, Watch
from bench.study.launcher.devices import VISIBLE, gpus
from bench.study.launcher.running import run_here
from bench.study.launcher.task import Task
from bench.study.tracking.contract import Tracker
from bench.system.pin import Pin
from bench.system.signals import Interrupted, is_announced


def needs(configs: Sequence[RunConfig]) -> list[Need]:
    """What of this machine the runs need: a core a process, or a GPU."""
    return [Need(config.device, config.processes) for config in configs]


def placement(configs: Sequence[RunConfig], most: int | None) -> Placement:
    """This machine, empty, for such runs.

    Args:
        most: the largest number at once; None: as many as it holds.
    """
    cores = [str(core) for core in sorted(os.sched_getaffinity(0))]
    wanted = any(config.device == "cuda" for config in configs)
    return Placement({"cpu": cores, "cuda": gpus() if wanted else []}, most)


def side_by_side(
    waiting: list[Task], room: Placement, tracker: Tracker, watch: Watch | None
) -> Generator[Ending, None, None]:
    """Run tasks, whatever fits at once, as :meth:`Launcher.run` does.

    Args:
        room: where they go.
    """
    team = _Team(waiting, room, tracker, watch)
    try:
        while team.fill():
            yield team.next_ending()
    finally:
        team.end()


class _Team:
    """The tasks that run at once."""

    def __init__(self, waiting: list[Task], room: Placement, tracker: Tracker, watch: Watch | None) -> None:
        self._waiting, self._room, self._tracker, self._watch = waiting, room, tracker, watch
        self._running: dict[threading.Thread, Spot] = {}
        self._ended: queue.SimpleQueue[tuple[threading.Thread, Ending, BaseException | None]] = queue.SimpleQueue()
        self._is_over = threading.Event()

    def fill(self) -> bool:
        """Start what there is room for; return whether anything runs."""
        while found := self._room.place(needs([task.config for task in self._waiting])):
            index, spot = found
            task = self._waiting.pop(index)
            company = bool(self._running) or self._room.fits(needs([other.config for other in self._waiting]))
            run = replace(task, pin=_pin(spot), colocated=company)
            thread = threading.Thread(target=self._run, args=(task, run), name=task.title, daemon=True)
            self._running[thread] = spot
            thread.start()
        return bool(self._running)

    def next_ending(self) -> Ending:
        """Wait for a task that ends; what waits has its place from then on.

        Raises:
            BaseException: what kept its thread from telling how it ended, an interruption for one.
        """
        thread, ending, error = self._ended.get()
        thread.join()
        self._room.release(self._running.pop(thread))
        if error is not None:
            raise error
        self.fill()
        return ending

    def end(self) -> None:
        """End what still runs, and wait for that."""
        self._is_over.set()
        for thread in self._running:
            thread.join()

    def _run(self, task: Task, run: Task) -> None:
        """Run a task, pinned as ``run`` says, in a thread of its own."""

        def look(_: Task) -> None:
            # Where the end was announced, every run comes by itself to where it can go on from.
            if self._is_over.is_set() and not is_announced():
                raise Interrupted
            if self._watch is not None:
                self._watch(task)

        thread = threading.current_thread()
        try:
            self._ended.put((thread, (task, run_here(run, self._tracker, look)), None))
        except BaseException as error:  # whatever it is, the first thread is to end with it
            self._ended.put((thread, (task, None), error))


def _pin(spot: Spot) -> Pin | None:
    """What the processes of a run keep to that has this spot."""
    if not spot.units:
        return None
    if spot.kind == "cuda":
        return Pin(variables={VISIBLE: ",".join(spot.units)})
    return Pin(tuple(map(int, spot.units)))
