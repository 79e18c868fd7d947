"""Database files that several processes share: whole or not there."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from bench.system import sqlite


def filled(address: str) -> None:
    """Makes the file as SQLite would."""
    Path(address.removeprefix("sqlite:///")).write_text("whole")


def test_a_database_is_made_once(tmp_path: Path) -> None:
    database = tmp_path / "a.db"
    sqlite.make(database, filled)
    assert database.read_text() == "whole"
    sqlite.make(database, lambda _: pytest.fail("it is there"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]


def test_of_one_that_was_interrupted_nothing_is_used(tmp_path: Path) -> None:
    """Half of it lies under another name, and is gone when the next one is made."""
    database = tmp_path / "a.db"

    def interrupted(address: str) -> None:
        filled(address)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sqlite.make(database, interrupted)
    assert not database.exists()

    def fresh(address: str) -> None:
        assert not Path(address.removeprefix("sqlite:///")).exists()
        filled(address)

    sqlite.make(database, fresh)
    assert database.read_text() == "whole"


def test_a_lock_is_one_holders(tmp_path: Path) -> None:
    """The lock is of a database in a folder that is made for it; it is let go of at the end."""
    database = tmp_path / "new" / "a.db"
    with sqlite.locked(database), Path(f"{database}.lock").open("w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with sqlite.locked(database):
        pass
    assert not database.exists()
