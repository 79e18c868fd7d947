"""When something may be done again that takes a run's machine a moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Budget:
    """Spaces what is done again and again, so that all of it takes at most a share of the time that passes.

    What it takes is its wall time: whoever is waited for meanwhile, a server or a database, may be at work on the very
    same cores.

    Args:
        share: the largest share, 0.005 for half a percent.
        least: seconds from one time to the next at least.
        patience: seconds until it is tried again where it has failed.
        expected: seconds that the first time will take.
        clock: tells seconds.
    """

    def __init__(
        self,
        share: float,
        least: float,
        patience: float,
        expected: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share, self._least, self._patience, self._next, self._clock = share, least, patience, expected, clock
        self._began = clock()
        self._not_before = self._began + least
        self._spent = 0.0

    def is_due(self) -> bool:
        """Whether it may be done now: all of it stays within the share, if it takes as long as the last time."""
        now = self._clock()
        return now >= self._not_before and self._spent + self._next <= self._share * (now - self._began)

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Do it once. Where it fails, it has mostly waited for whom does not answer: that is tried again, and not
        counted."""
        begun = self._clock()
        try:
            yield
        except BaseException:
            self._not_before = self._clock() + self._patience
            raise
        now = self._clock()
        self._next = now - begun
        self._spent += self._next
        self._not_before = now + self._least
