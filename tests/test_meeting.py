"""Ranks that torchrun starts find those of their own start, whatever others have left in its store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import HashStore, PrefixStore, Store

from bench.engine.meeting import meet

SOON, NEVER = timedelta(seconds=60), timedelta(seconds=0.1)


def start(store: Store, size: int) -> list[Store]:
    """Start so many ranks, the first one last."""
    with ThreadPoolExecutor(size) as threads:
        others = [threads.submit(meet, store, rank, size, SOON) for rank in range(1, size)]
        return [meet(store, 0, size, SOON), *(other.result() for other in others)]


def test_each_start_has_a_part_of_its_own() -> None:
    store = HashStore()
    for times in range(3):
        stores = start(store, 4)
        assert not stores[0].check(["address"])
        stores[times].set("address", str(times))
        assert [each.get("address") for each in stores] == [str(times).encode()] * 4


def test_what_a_dead_rank_has_asked_is_no_ranks_presence() -> None:
    """It died before it was answered, or behind that and before it came."""
    store = HashStore()
    with pytest.raises(TimeoutError, match="rank 0 has not come"):
        meet(store, 1, 2, NEVER)
    with pytest.raises(TimeoutError, match="ranks 1 have not come"):
        meet(store, 0, 2, NEVER)
    one, other = start(store, 2)
    one.set("address", "new")
    assert other.get("address") == b"new"


def test_a_rank_of_another_meeting_is_not_here() -> None:
    store = HashStore()
    start(store, 3)
    with pytest.raises(TimeoutError, match="ranks 1, 2 have not come"):
        meet(store, 0, 3, NEVER)


def test_alone_there_is_nobody_to_wait_for() -> None:
    assert isinstance(meet(HashStore(), 0, 1, NEVER), PrefixStore)
