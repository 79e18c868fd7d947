"""Bells between two processes of one machine: bytes through a named pipe.

The kernel wakes who waits, and a bell that has rung before is heard at once. The process group would carry it by a
thread of its own at either end, which has to wait for a core that the agents compute on.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from pathlib import Path

from bench.engine.world import PeerLost


class Ringer:
    """The end that rings."""

    def __init__(self, path: Path) -> None:
        # For reading too: then it is opened without waiting for its listener.
        self._file = _opened(self, path, os.O_RDWR)

    def ring(self, times: int = 1) -> None:
        os.write(self._file, bytes(times))


class Listener:
    """The end that waits."""

    def __init__(self, path: Path) -> None:
        self._file = _opened(self, path, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(self._file, True)

    def wait(self) -> None:
        """Until it has rung once more than it was waited for.

        Raises:
            PeerLost: the process that rings has ended.
        """
        if not os.read(self._file, 1):
            raise PeerLost("a peer is gone: its end of a pipe is closed")


def _opened(owner: object, path: Path, flags: int) -> int:
    """The pipe, made by whichever end comes first; closed with its owner."""
    with suppress(FileExistsError):
        os.mkfifo(path)
    file = os.open(path, flags)
    weakref.finalize(owner, os.close, file)
    return file
