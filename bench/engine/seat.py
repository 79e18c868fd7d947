"""Which of a run's processes this one is: as whoever started it says, torchrun by its environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Seat:
    """A process's place among those of its run, and among those of them that are on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


def seats(size: int) -> list[Seat]:
    """The seats of a run of so many processes that has one machine to itself."""
    return [Seat(rank, size, rank, size) for rank in range(size)]


def under_torchrun() -> bool:
    """Whether torchrun has started this process."""
    return torchrun_seat() is not None


def torchrun_seat() -> Seat | None:
    """The seat that torchrun has given this process; None where torchrun did not start it.

    Its variables count together alone: some of them, or one that is no number, are left over from something else.
    """
    numbers = (
        os.environ.get("RANK", ""),
        os.environ.get("WORLD_SIZE", ""),
        os.environ.get("LOCAL_RANK", ""),
        os.environ.get("LOCAL_WORLD_SIZE", ""),
    )
    address = (os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", ""))
    if not all((os.environ.get("TORCHELASTIC_RUN_ID", ""), *address)) or not all(map(str.isdecimal, numbers)):
        return None
    seat = Seat(*map(int, numbers))
    return seat if seat.rank < seat.size and seat.local_rank < seat.local_size <= seat.size else None
