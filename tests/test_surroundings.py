"""Hostile surroundings: full disks, folders that go, pictures that cannot be drawn, and programs of odd kinds."""

from __future__ import annotations

import errno
import os
import resource
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench.__main__ import main
from bench.config import RunConfig
from bench.record.folder import RunFolder, WithoutResult
from bench.record.runs_dir import Sweep
from bench.study.report.figure import new_figure
from bench.study.sweep import sweep
from bench.study.tracking.contract import Tracker
from bench.study.tracking.none import NoTracking
from bench.system.call import Call
from bench.system.file import WriteError, write_atomic
from tests.commands import TINY, await_that, read_json, said, training

ORACLE = (*TINY, "epochs=1", "engine=reference", "runs_dir=runs")
FULL = os.strerror(errno.ENOSPC)


class Ends(Tracker):
    """Keeps what MLflow would be told of runs without a result."""

    def __init__(self) -> None:
        self.told: list[tuple[int, WithoutResult]] = []

    def fail(self, config: RunConfig, message: str, status: WithoutResult) -> None:  # noqa: ARG002
        self.told.append((config.seed, status))


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Ends:
    found = Ends()
    monkeypatch.setattr(NoTracking, "tracker", lambda _: found)
    return found


# ------------------------------------------------------------------------------------------------------------- the disk
def test_a_full_disk_is_a_line_and_the_next_points_go_on(
    ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is, whatever is written, the failure too; and once there is room, the same command goes on."""
    words = ["-m", *ORACLE, "seed=0,1,2"]
    assert said(tmp_path, *words[:-1], "seed=0").code == 0
    (kept,) = tmp_path.glob("runs/*/record.json")
    before = kept.read_bytes()

    append = RunFolder.append

    def full(*_: object) -> None:
        raise WriteError(errno.ENOSPC, FULL, "runs/the_file")

    def full_for_the_second(folder: RunFolder, event: Mapping[str, Any]) -> None:
        is_second = len(list(tmp_path.rglob("lock"))) == 2
        full() if is_second and event["event"] != "begun" else append(folder, event)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append", full_for_the_second)
        patch.setattr(RunFolder, "write_failure", full)
        patch.setattr(Sweep, "write", full)
        answer = said(tmp_path, *words)
    assert answer.code == 1
    lines = answer.err.splitlines()
    assert f"bench: runs/the_file cannot be written: {FULL}" in lines
    failed = [line for line in lines if line.startswith("failed: ")]
    assert len(failed) == 1
    assert failed[0].endswith(f": rank 0 failed: runs/the_file cannot be written: {FULL}")
    assert "Traceback" not in answer.err
    assert ends.told == [(1, "failed")]
    assert answer.out.count("| done") == 2
    assert kept.read_bytes() == before
    again = said(tmp_path, *words)
    assert (again.code, again.out.count("| done"), again.err.count("has a record in")) == (0, 3, 2)


def test_a_folder_that_goes_while_a_run_trains_is_a_line(ends: Ends, tmp_path: Path) -> None:
    def remove() -> None:
        await_that(lambda: training(tmp_path, "runs/*/events.jsonl"), lambda: "the oracle does not train")
        # At once: a run that meets half of it would put a file into what is being removed.
        (tmp_path / "runs").rename(tmp_path / "gone")

    thread = threading.Thread(target=remove)
    thread.start()
    answer = said(tmp_path, "-m", *ORACLE, "epochs=20000,1")
    thread.join()
    assert answer.code == 1
    (failure,) = tmp_path.glob("runs/*/failure.json")
    message = f"rank 0 failed: runs/{failure.parent.name}/events.jsonl cannot be written: {os.strerror(errno.ENOENT)}"
    assert read_json(failure)["message"] == message
    assert answer.err.splitlines()[-1] == f"failed: K2 S1 c2 {failure.parent.name}: {message}"
    assert "Traceback" not in answer.err
    assert ends.told == [(0, "failed")]
    assert answer.out.count("| done") == 1


def test_a_limit_on_a_files_size_is_a_full_disk(tmp_path: Path) -> None:
    """A real one: the system takes the first bytes and refuses the rest, and what was there stays as it was."""
    path = tmp_path / "file"
    write_atomic(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(WriteError) as raised:
            write_atomic(path, bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(raised.value) == f"{path} cannot be written: {os.strerror(errno.EFBIG)}"
    assert [(each, each.read_bytes()) for each in tmp_path.iterdir()] == [(path, b"old")]


def test_a_full_disk_anywhere_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may be that of the temporary folder, say."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, FULL, "/tmp/pymp-1")

    monkeypatch.setattr(sweep, "run_all", full)
    answer = said(tmp_path, *ORACLE)
    assert (answer.code, answer.err) == (1, f"bench: [Errno {errno.ENOSPC}] {FULL}: '/tmp/pymp-1'\n")


# ------------------------------------------------------------------------------------------------------------- pictures
def _fail(*_: object, **__: object) -> None:
    raise KeyError("a new kind of time")


@pytest.mark.parametrize(
    ("broken", "missing", "line"),
    [
        (
            "record.trace.chrome_trace",
            {"timeline.json", "timeline.png"},
            ": no trace of it: KeyError: 'a new kind of time'",
        ),
        ("study.report.timeline.draw", {"timeline.png"}, "/timeline.png: KeyError: 'a new kind of time'"),
    ],
)
def test_no_trace_and_no_picture_costs_a_result(
    broken: str, missing: set[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(f"bench.{broken}", _fail)
        answer = said(tmp_path, *ORACLE)
    assert answer.code == 0
    assert answer.err.splitlines()[-1].endswith(line)
    assert "Traceback" not in answer.err
    (record,) = tmp_path.glob("runs/*/record.json")
    whole = {"record.json", "events.jsonl", "model.pt", "timeline.json", "timeline.png", "lock"}
    assert {path.name for path in record.parent.iterdir()} == whole - missing
    again = said(tmp_path, *ORACLE)
    assert again.code == 0
    assert "has a record in" in again.err
    assert said(tmp_path, "report", "runs_dir=runs").code == 0


def test_no_picture_and_no_page_costs_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(tmp_path, *ORACLE).code == 0
    monkeypatch.setattr("bench.study.report.picture.pareto.Pareto.panels", _fail)
    answer = said(tmp_path, "report", "runs_dir=runs")
    assert answer.code == 0
    assert "not drawn: results/pareto.png: KeyError: 'a new kind of time'" in answer.err.splitlines()
    assert (tmp_path / "results" / "curves.png").exists()
    assert 'id="pareto"' not in (tmp_path / "results" / "report.html").read_text()
    monkeypatch.setattr("bench.study.report.publish.write_page", _fail)
    answer = said(tmp_path, "report", "runs_dir=runs")
    assert (answer.code, "| decoupled |" in answer.out) == (0, True)
    assert "not drawn: results/report.html: KeyError: 'a new kind of time'" in answer.err.splitlines()


def draws(path: Path) -> bool:
    """Draw in a process that has not seen matplotlib; whether its environment is as it was."""
    new_figure(1, 1, dpi=50).savefig(path)
    return os.environ["MPLBACKEND"] == "module://a_notebook.backend"


def test_pictures_are_files_whatever_a_notebook_wants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://a_notebook.backend")
    assert Call(draws, tmp_path / "picture.png").result()
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------------------------------- programs
@pytest.mark.parametrize("path", ["<stdin>", "unguarded.py"])
def test_processes_do_not_run_the_program_again(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -`` has no file to run, and a script without a guard would start itself over and over."""
    program = ModuleType("__main__")
    program.__file__ = str(tmp_path / path)
    (tmp_path / "unguarded.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    monkeypatch.setitem(sys.modules, "__main__", program)
    assert Call(os.getppid).result() != os.getppid()
    assert sys.modules["__main__"] is program
    assert not (tmp_path / "ran").exists()


def test_a_thread_can_run_it(tmp_path: Path) -> None:
    """Signals are handled in the main thread alone: there they stay as they are."""
    codes: list[int] = []
    words = [*TINY, "stages=1", "epochs=1", f"runs_dir={tmp_path / 'runs'}"]
    thread = threading.Thread(target=lambda: codes.append(main(words)))
    thread.start()
    thread.join()
    assert codes == [0]
    assert list(tmp_path.glob("runs/*/record.json"))
