"""A run that one of its ranks has ended begins again by itself, from its newest checkpoint."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TypeVar

from bench.engine.rank import RankKilled, RunFailed
from bench.engine.seat import under_torchrun
from bench.record.folder import RunFolder
from bench.system.wording import gist

Answer = TypeVar("Answer")


def with_restarts(
    train: Callable[[], Answer], folder: RunFolder, restarts: int, title: str, tells: bool = True
) -> Answer:
    """Train a run to its end, again where a rank fails and there is a checkpoint to go on from.

    Under torchrun that starts the ranks again, if it is asked to (``--max-restarts``).

    Args:
        train: trains from the newest checkpoint on.
        restarts: how often it may begin again.
        title: the run's short name for people.
        tells: whether this process is the one that adds to the run's events; of several nodes it is the first.

    Raises:
        RunFailed: it has failed without a checkpoint, too often, or once more in the same way before there was another
            checkpoint: then the message is that of the first time.
    """
    before: tuple[int, RunFailed] | None = None
    number = 0
    while True:
        try:
            return train()
        except RunFailed as failure:
            number += 1
            newest = next(iter(folder.checkpoints.published()), None)
            if before is not None and before[0] == newest and _is_again(failure, before[1]):
                raise before[1] from None
            if newest is None or number > restarts or under_torchrun():
                raise
            before = newest, failure
            message = gist(str(failure))
            if tells:
                folder.append({"event": "restarted", "number": number, "step": newest, "message": message})
            print(f"{title}: {message}; goes on from update {newest}, {number} of {restarts}", file=sys.stderr)


def _is_again(failure: RunFailed, before: RunFailed) -> bool:
    """Whether a failure is the one before once more: one of the run's own, that comes each time.

    Whoever kills a process may have killed it for something else the next time.
    """
    return not isinstance(failure, RankKilled) and _plain(failure) == _plain(before)


def _plain(failure: RunFailed) -> str:
    """A failure's message without the number that the system gave its process."""
    return re.sub(r"\(process \d+\)", "", str(failure))
