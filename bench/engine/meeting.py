"""Where processes that torchrun has started meet: apart from what those before them have left in its store.

Torch elastic keeps one store from one start of the ranks to the next, with the addresses of ranks that are dead by
then; and how often it has started them is counted on each machine by itself. So rank 0 names the meeting anew whenever
it starts, and tells its name to each rank that asks; what an earlier rank has asked is answered to nobody::

    rank 1   asks/1 = 7f3a          waits for answers/7f3a          meetings/c01d/1 = here
    rank 0   c01d                   answers/7f3a = c01d             waits for meetings/c01d/1
"""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

from torch.distributed import PrefixStore, Store

LOOK_SECONDS = 0.02


def meet(store: Store, rank: int, size: int, timeout: timedelta) -> Store:
    """Enter the part of a store that the ranks of this start have to themselves. Every rank calls it.

    Raises:
        TimeoutError: not all of them came in time.
    """
    name = _invite(store, size, timeout) if rank == 0 else _ask(store, rank, timeout)
    return PrefixStore(f"meetings/{name}", store)


def _invite(store: Store, size: int, timeout: timedelta) -> str:
    """Name a meeting, answer whoever asks, and return the name once all are there."""
    name, missing, answered = uuid.uuid4().hex, set(range(1, size)), set[bytes]()
    end = time.monotonic() + timeout.total_seconds()
    while missing:
        for rank in missing:
            # A rank may ask again: what was answered first had been asked by the one before it.
            if store.check([f"asks/{rank}"]) and (asked := store.get(f"asks/{rank}")) not in answered:
                store.set(f"answers/{asked.decode()}", name)
                answered.add(asked)
        missing -= {rank for rank in missing if store.check([f"meetings/{name}/{rank}"])}
        if time.monotonic() > end:
            raise TimeoutError(f"ranks {', '.join(map(str, sorted(missing)))} have not come")
        time.sleep(LOOK_SECONDS)
    return name


def _ask(store: Store, rank: int, timeout: timedelta) -> str:
    """Ask for the meeting, and return its name, once one is there who knows it."""
    asked = uuid.uuid4().hex
    store.set(f"asks/{rank}", asked)
    try:
        store.wait([f"answers/{asked}"], timeout)
    except RuntimeError as error:  # torch's store says so
        raise TimeoutError(f"rank 0 has not come: {str(error).splitlines()[0]}") from None
    name: str = store.get(f"answers/{asked}").decode()
    store.set(f"meetings/{name}/{rank}", "here")
    return name
