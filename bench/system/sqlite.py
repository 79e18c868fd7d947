"""Files of SQLite databases that several processes share: made whole or not at all, and by one of them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

FILE = r"sqlite(\+\w+)?:///(?!:memory:|file:)[^?]"
"""The pattern of how the URL of an SQLite database begins that is a file."""


def locked(database: Path) -> IO[str]:
    """The lock beside a database, held until it is closed; waits until no other process of ours holds it.

    The system wakes the next one at once. With filelock, each would look again and again, and sleep meanwhile.

    Raises:
        OSError: the folder cannot be written.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    lock = database.with_name(database.name + ".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def make(database: Path, fill: Callable[[str], object]) -> None:
    """Make a database that is not there yet; under :func:`locked`.

    It is filled under another name and then renamed, so that a process killed meanwhile leaves no half of it.

    Args:
        fill: called with the address (``sqlite:///...``) of a file that it makes.
    """
    if database.exists():
        return
    fresh = database.with_name(database.name + ".new")
    fresh.unlink(missing_ok=True)
    fill(f"sqlite:///{fresh}")
    os.replace(fresh, database)
