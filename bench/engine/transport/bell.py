"""Bells between two processes of one machine: bytes through a named pipe.

The kernel wakes who waits, and a bell that has rung before is heard at once. The process group would carry it by a
thread of its own at either end, which has to wait for a core that the agents compute on.
"""

from __future__ import annotations

import os
import select
import weakref
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from bench.engine.world import TIMEOUT, PeerLost


class Ringer:
    """The end of a bell that rings it."""

    def __init__(self, path: Path) -> None:
        # For reading too: then it is opened without waiting for its listener.
        self._file = _opened(self, path, os.O_RDWR)

    def ring(self, times: int = 1) -> None:
        os.write(self._file, bytes(times))


class Listener:
    """The end of a bell that waits for it; it may wait as soon as both ends were made."""

    def __init__(self, path: Path, timeout: timedelta = TIMEOUT) -> None:
        self._file = _opened(self, path, os.O_RDONLY | os.O_NONBLOCK)
        self._timeout = timeout
        self._rung = select.poll()
        self._rung.register(self._file, select.POLLIN)

    def wait(self) -> None:
        """Wait until the bell has rung once more than it was waited for.

        Raises:
            PeerLost: the process that rings has ended, or was silent for the timeout.
        """
        while True:
            with suppress(BlockingIOError):
                if not os.read(self._file, 1):
                    raise PeerLost("a peer is gone: its end of a pipe is closed")
                return
            if not self._rung.poll(1000 * self._timeout.total_seconds()):
                raise PeerLost(f"a peer has sent nothing for {self._timeout.total_seconds():g} s")


def _opened(owner: object, path: Path, flags: int) -> int:
    """Open the pipe, made by whichever end comes first; it is closed with its owner."""
    with suppress(FileExistsError):
        os.mkfifo(path)
    file = os.open(path, flags)
    weakref.finalize(owner, os.close, file)
    return file
