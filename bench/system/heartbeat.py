"""Says of this process, again and again, that it lives: for other machines, to which its id means nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bench.system import process

TALKING = threading.RLock()
"""Held by whoever talks to MLflow or to a study's database: what silences these holds for the whole process."""


class Heartbeat:
    """Calls a function once a minute from a thread of its own, which ends when there is nothing left to tell of.

    Args:
        beat: called under ``TALKING``; returns whether there is something to tell of. It must not raise.
    """

    def __init__(self, beat: Callable[[], bool]) -> None:
        self._beat = beat
        self._is_beating = False

    def start(self) -> None:
        """Beat from now on, as there is something to tell of; to be called under ``TALKING``."""
        if not self._is_beating:
            self._is_beating = True
            threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def _run(self) -> None:
        while self._is_beating:
            time.sleep(process.BEAT_SECONDS)
            with TALKING:
                self._is_beating = self._beat()
