"""What asks this process to end: it ends in order and soon, whatever comes and however often."""

from __future__ import annotations

import os
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
EXIT_INTERRUPTED = 130
LAST_SECONDS = 4.5
"""Seconds that this process has from the first signal on. What is not in order by then is left to the next command."""


class Interrupted(KeyboardInterrupt):
    """Someone wants the end: the user (Ctrl-C, a closed terminal) or the system."""


_asked = threading.Event()
"""Whether a signal has come. An exception may be lost, where a library catches all of them; this is not."""


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
        while os.read(heard, 1)[0] not in ENDING:
            continue
        time.sleep(LAST_SECONDS)
        os._exit(EXIT_INTERRUPTED)

    threading.Thread(target=watch, name="end", daemon=True).start()


def is_interrupted() -> bool:
    """Whether a signal has come."""
    return _asked.is_set()


def _take() -> dict[int, Any]:
    """Handle the signals that would end this process; return what handled them before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    deadly = [number for number in ENDING if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)]
    return {number: signal.signal(number, _interrupt) for number in deadly}


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if not _asked.is_set():
        _asked.set()
        raise Interrupted
