"""What this process does again and again meanwhile; first of all to say that it lives, for other machines, to which its
id means nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bench.system import process

TALKING = threading.RLock()
"""Held by whoever talks to MLflow or to a study's database: what silences these holds for the whole process."""


class Repeated:
    """Calls a function again and again from a thread of its own, which ends when there is nothing left to do.

    Args:
        function: called under ``TALKING``; returns whether there is something left to do. It must not raise.
        seconds: tells how long the pause before the next call is.
        name: what the thread is called.
    """

    def __init__(self, function: Callable[[], bool], seconds: Callable[[], float], name: str) -> None:
        self._function, self._seconds, self._name = function, seconds, name
        self.is_on = False
        """Whether there is a next call; whoever holds ``TALKING`` may end it."""

    def start(self) -> None:
        """Call it from now on, as there is something to do; to be called under ``TALKING``."""
        if not self.is_on:
            self.is_on = True
            threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def _run(self) -> None:
        while self.is_on:
            time.sleep(self._seconds())
            with TALKING:
                self.is_on = self.is_on and self._function()


class Heartbeat(Repeated):
    """Calls a function once a minute, as :class:`Repeated` does, that tells of what this process is at."""

    def __init__(self, beat: Callable[[], bool]) -> None:
        super().__init__(beat, lambda: process.BEAT_SECONDS, "heartbeat")
