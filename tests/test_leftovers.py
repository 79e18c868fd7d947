"""What a process that was killed has left: removed by the next one, and by nobody while it lives."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from multiprocessing.util import get_temp_dir
from pathlib import Path

import pytest

from bench.record.folder import RunFolder
from bench.study.launcher.execution import Busy, run_lock
from bench.system import leftovers
from bench.system.call import Call, Killed
from bench.system.leftovers import Mark, clear_left_behind
from tests.commands import await_that


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Temporary folders of the test's own, but not for the server's socket: its path has to be short."""
    get_temp_dir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(leftovers, "SHARED", tmp_path / "shm")
    for name in ("tmp", "shm"):
        Path(tmp_path, name).mkdir()


def _made(folder: Path) -> Path:
    folder.mkdir()
    (folder / "file").touch()
    return folder


def claim_and(folder: Path, number: signal.Signals | None) -> None:
    """Claim a folder, and die of the signal, or wait for the end."""
    claim = Mark(folder)
    if number is not None:
        signal.raise_signal(number)
    (folder / "claimed").touch()
    time.sleep(3600)
    claim.release()


@pytest.mark.parametrize("name", ["tmp/pymp-abc", "shm/staleness-bench-abc"])
def test_a_dead_process_needs_nothing(name: str, tmp_path: Path) -> None:
    folder = _made(tmp_path / name)
    with pytest.raises(Killed):
        Call(claim_and, folder, signal.SIGKILL).result()
    clear_left_behind()
    assert not folder.exists()


def test_what_one_living_process_needs_stays(tmp_path: Path) -> None:
    """It stays also where another one that needed it was killed."""
    folder = _made(tmp_path / "shm" / "staleness-bench-abc")
    living = Call(claim_and, folder, None)
    with pytest.raises(Killed):
        Call(claim_and, folder, signal.SIGKILL).result()
    await_that((folder / "claimed").exists, lambda: "no claim")
    clear_left_behind()
    assert (folder / "file").exists()
    living.kill()
    living.join()
    clear_left_behind()
    assert not folder.exists()


def hold(folder: RunFolder) -> None:
    """Have a run's folder alone until the end."""
    with run_lock(folder):
        (folder.path / "held").touch()
        time.sleep(3600)


def test_a_process_that_is_killed_lets_go_of_its_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    living = Call(hold, folder)
    await_that((folder.path / "held").exists, lambda: "nobody holds the run")
    with pytest.raises(Busy, match=f"in {folder.path}$"), run_lock(folder):
        pass
    living.kill()
    with run_lock(folder, wait=True):
        assert (folder.path / "held").exists()


@pytest.mark.parametrize("name", ["tmp/pymp-abc", "tmp/other", "shm/staleness-bench-abc", "shm/other"])
def test_what_nobody_marked_is_not_ours(name: str, tmp_path: Path) -> None:
    folder = _made(tmp_path / name)
    clear_left_behind()
    assert (folder / "file").exists()


def test_the_last_of_those_that_need_a_folder_removes_it(tmp_path: Path) -> None:
    folder = tmp_path / "shm" / "staleness-bench-abc"
    folder.mkdir()
    first = Mark(folder)
    (folder / f"{leftovers.NAME}-{os.getpid() + 1}.lock").touch()
    first.release()
    assert [path.name for path in folder.iterdir()] == [f"{leftovers.NAME}-{os.getpid() + 1}.lock"]
    (folder / f"{leftovers.NAME}-{os.getpid() + 1}.lock").unlink()
    Mark(folder).release()
    assert not folder.exists()
