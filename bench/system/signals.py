"""What asks this process to end: it ends in order and soon, whatever comes and however often."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDING = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGXCPU,
)
"""Signals that would end a process at once: those of a terminal, of a system that shuts down, and of schedulers."""
FROM_TERMINALS = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""The signals of them that a terminal sends to a command and to all the processes that it has started."""
ANNOUNCING = tuple(number for number in ENDING if number not in FROM_TERMINALS)
"""The signals of them by which systems and schedulers announce the end some seconds before they force it."""
EXIT_INTERRUPTED = 130
EXIT_STOPPED = 143
STOP_SECONDS = 20.0
"""Seconds from an announcement on in which training may come to where it can go on from; SLURM forces the end after 30,
unless it is configured otherwise (KillWait)."""
LAST_SECONDS = 4.5
"""Seconds that this process has from the first signal on. What is not in order by then is left to the next command."""


class Interrupted(KeyboardInterrupt):
    """Someone wants the end: the user (Ctrl-C, a closed terminal) or the system."""


class Stopped(Interrupted):
    """Whoever announced the end has it: the message says where training stands, from where the same command goes on."""


_asked = threading.Event()
"""Whether a signal has come. An exception may be lost, where a library catches all of them; this is not."""
_announced = threading.Event()
"""Whether the end was announced, to a process that was patient then."""
_heard: list[int] = []
"""The signal that has interrupted this process."""
_over = threading.Event()
"""Whether nobody waits any more for what was announced."""
_patience: list[object] = []
"""One entry for everything under way that comes to an end by itself once that was announced."""


@contextmanager
def terminable() -> Iterator[None]:
    """The first of :data:`ENDING` raises :class:`Interrupted` in here; those that follow change nothing.

    Signals that are ignored (``nohup``, a shell's background job) or that whoever called us handles stay as they are;
    so do all of them outside the main thread, where none can be handled.
    """
    taken = _take()
    try:
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
        if taken:
            _asked.clear()
            _announced.clear()
            _heard.clear()


@contextmanager
def to_the_end() -> Iterator[None]:
    """Do as :func:`terminable` for the rest of this process, whose end has a bound from the first signal on.

    Once this is left, its exit code stands, and no signal changes that.
    """
    taken = _take()
    _bound()
    try:
        yield
    finally:
        # Python itself would go back to what ends a process at once.
        for number in taken:
            signal.signal(number, signal.SIG_IGN)


def _bound() -> None:
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def watch() -> None:
        # Not in the handler: it waits for the main thread, which may be inside of a library that does not come back.
        while (number := os.read(heard, 1)[0]) not in ENDING:
            continue
        if number in ANNOUNCING and _patience:
            _wait_for_another(heard, STOP_SECONDS)
            _over.set()
            os.kill(os.getpid(), number)
        time.sleep(LAST_SECONDS)
        os._exit(EXIT_INTERRUPTED)

    threading.Thread(target=watch, name="end", daemon=True).start()


def _wait_for_another(heard: int, seconds: float) -> None:
    """Wait so long at most for a signal that wants the end at once."""
    end = time.monotonic() + seconds
    while select.select([heard], [], [], max(0.0, end - time.monotonic()))[0]:
        if os.read(heard, 1)[0] in FROM_TERMINALS:
            return


def is_interrupted() -> bool:
    """Whether a signal has come."""
    return _asked.is_set()


def is_ending_softly() -> bool:
    """Whether this process is ended by what a login that drops or a system that shuts down sends, and not by somebody
    at its terminal."""
    return bool(_heard) and _heard[0] not in (signal.SIGINT, signal.SIGQUIT)


def is_announced() -> bool:
    """Whether the end was announced, so that training is to stop as soon as it can go on from where it stands."""
    return _announced.is_set()


@contextmanager
def patient() -> Iterator[None]:
    """Note a signal of :data:`ANNOUNCING` in here, where all others interrupt: what trains asks :func:`is_announced`,
    and stops by itself.

    Raises:
        Interrupted: there was one, and what was under way has come to its own end before it.
    """
    mark = object()
    _patience.append(mark)
    try:
        yield
    finally:
        _patience.remove(mark)
    if is_announced():
        raise Interrupted


def note_announcements() -> None:
    """Note the signals of :data:`ANNOUNCING` for the rest of this process, which whoever started it will end."""
    for number in ANNOUNCING:
        signal.signal(number, lambda *_: _announced.set())


def _take() -> dict[int, Any]:
    """Handle the signals that would end this process; return what handled them before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    deadly = [number for number in ENDING if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)]
    return {number: signal.signal(number, _interrupt) for number in deadly}


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if number in ANNOUNCING and (_patience or _announced.is_set()) and not _over.is_set():
        _announced.set()
    elif not _asked.is_set():
        _asked.set()
        _heard.append(number)
        raise Interrupted
