"""Bells between processes: each ring is heard once, before or after it is waited for, and silence after an end."""

from __future__ import annotations

import multiprocessing
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from bench.engine.transport.bell import Listener, Ringer
from bench.engine.world import PeerLost


def test_every_ring_is_heard_once(tmp_path: Path) -> None:
    listener, ringer = Listener(tmp_path / "bell"), Ringer(tmp_path / "bell")
    ringer.ring()
    ringer.ring(2)
    for _ in range(3):
        listener.wait()
    rung = threading.Event()

    def ring() -> None:
        rung.set()
        ringer.ring()

    late = threading.Timer(0.2, ring)
    late.start()
    listener.wait()
    assert rung.is_set()
    late.join()


def test_either_end_may_come_first(tmp_path: Path) -> None:
    ringer = Ringer(tmp_path / "bell")
    ringer.ring()
    Listener(tmp_path / "bell").wait()


def _ring_and_end(path: Path) -> None:
    Ringer(path).ring()


def test_a_ringer_that_has_ended_is_noticed(tmp_path: Path) -> None:
    """It is noticed after what it has rung: messages that were sent are still there."""
    listener = Listener(tmp_path / "bell")
    process = multiprocessing.get_context("forkserver").Process(target=_ring_and_end, args=(tmp_path / "bell",))
    process.start()
    process.join()
    listener.wait()
    with pytest.raises(PeerLost, match=r"^a peer is gone: its end of a pipe is closed$"):
        listener.wait()


def test_a_silent_ringer_is_not_waited_for_without_end(tmp_path: Path) -> None:
    listener, ringer = Listener(tmp_path / "bell", timedelta(milliseconds=50)), Ringer(tmp_path / "bell")
    with pytest.raises(PeerLost, match=r"^a peer has sent nothing for 0\.05 s$"):
        listener.wait()
    ringer.ring()
    listener.wait()


def test_a_pipe_is_closed_with_its_owner(tmp_path: Path) -> None:
    files = Path("/proc/self/fd")
    before = len(list(files.iterdir()))
    listener, ringer = Listener(tmp_path / "bell"), Ringer(tmp_path / "bell")
    assert len(list(files.iterdir())) == before + 2
    del listener, ringer
    assert len(list(files.iterdir())) == before
