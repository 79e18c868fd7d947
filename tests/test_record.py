"""A run's folder: what is written is read back, and what is broken says so."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bench.study import record
from bench.study.record import (
    KEYS,
    RecordError,
    RunFolder,
    WithoutResult,
    environment,
    flatten,
    git_state,
    write_json_atomic,
)


def test_events_come_back_in_order_with_their_time(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.append({"event": "started", "time": 1.5, "steps": 44, "epochs": 2})
    folder.append({"event": "finished", "status": "done"})
    first, second = folder.events()
    assert first == {"event": "started", "time": 1.5, "steps": 44, "epochs": 2}
    assert second["status"] == "done"
    assert second["time"] > 1.5


def test_a_run_that_has_not_begun_has_no_events(tmp_path: Path) -> None:
    assert list(RunFolder(tmp_path / "run").events()) == []


def test_a_last_line_cut_short_is_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append({"event": "started"})
    with folder.events_file.open("a") as file:
        file.write('{"event": "progr')
    assert [event["event"] for event in folder.events()] == ["started"]


def test_a_broken_line_inside_names_file_and_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.events_file.write_text('{"event": "started"}\n{"event\n{"event": "finished"}\n')
    with pytest.raises(RecordError, match=r"events\.jsonl, line 2"):
        list(folder.events())


def _record(name: str, **changes: Any) -> dict[str, Any]:
    return {"schema": 1, **dict.fromkeys(KEYS), "status": "done", "config_hash": name, **changes}


def test_a_record_comes_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert folder.read_record() is None
    written = _record("run", metrics={"accuracy/test": 0.5}, epochs=[{"epoch": 0}])
    folder.write_record(written)
    assert folder.read_record() == written
    assert [path.name for path in folder.path.iterdir()] == ["record.json"]


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_record(_record("run", metrics={"loss/test": math.nan}, epochs=[{"loss/train": math.inf}]))
    assert folder.read_record() == _record("run", metrics={"loss/test": None}, epochs=[{"loss/train": None}])


@pytest.mark.parametrize("text", ["", "{", '{"schema": 2}', "{}", "[]", "\udcff"])
def test_a_record_that_cannot_be_read_names_the_file(tmp_path: Path, text: str) -> None:
    folder = RunFolder(tmp_path)
    folder.record.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RecordError, match=r"record\.json"):
        folder.read_record()


def test_a_record_that_lacks_something_says_what(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    record = _record("run")
    del record["metrics"], record["agents"]
    folder.write_record(record)
    with pytest.raises(RecordError, match=r"record\.json: has no metrics, agents$"):
        folder.read_record()


def test_the_record_of_another_run_is_refused(tmp_path: Path) -> None:
    """A folder that was copied would count twice."""
    folder = RunFolder(tmp_path / "copy")
    folder.write_record(_record("run"))
    with pytest.raises(RecordError, match="config_hash='run' is not its folder's name"):
        folder.read_record()


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write_json_atomic(path, {"schema": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_json_atomic(path, {"schema": 1, "status": "done"})
    assert json.loads(path.read_text()) == {"schema": 1}


def test_several_may_write_one_file_at_once(tmp_path: Path) -> None:
    """Two sweeps in one folder find out the same curvature. With one name for all unfinished files, the second to
    finish found its own gone."""
    path = tmp_path / "curvature.json"
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda number: write_json_atomic(path, {"number": number}), range(200)))
    assert json.loads(path.read_text())["number"] in range(200)
    assert list(tmp_path.iterdir()) == [path]


def test_clear_removes_an_earlier_attempt_and_nothing_else(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append({"event": "started"})
    folder.write_failure("rank 1 was killed", "killed")
    folder.write_record({"schema": 1})
    left = (folder.timeline, folder.picture, folder.model, tmp_path / "record.json.1f.tmp", tmp_path / "notes.txt")
    for path in left:
        path.touch()
    folder.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("status", ["killed", "failed", "pruned"])
def test_a_failure_says_why(tmp_path: Path, status: WithoutResult) -> None:
    folder = RunFolder(tmp_path)
    folder.write_failure("out of memory", status)
    failure = json.loads(folder.failure.read_text())
    assert (failure["status"], failure["message"]) == (status, "out of memory")


def test_flatten_joins_keys_with_dots() -> None:
    config = {"stages": 2, "model": {"name": "resnet", "depth": 8}, "partition": [4]}
    assert flatten(config) == {"stages": 2, "model.name": "resnet", "model.depth": 8, "partition": [4]}


def test_environment_describes_this_machine() -> None:
    found = environment(oversubscribed=True, gpu="H100")
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert (found["oversubscribed"], found["gpu"]) == (True, "H100")
    assert found["torch"].startswith("2.")
    assert found["cpu"]


def _git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_git_state_of_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = tmp_path / "record.py"
    shutil.copy(record.__file__, code)
    monkeypatch.setattr(record, "__file__", str(code))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() == (None, None)
    _git(tmp_path, "init", "--quiet")
    assert git_state() == (None, None)
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "--quiet", "--message", "one")
    commit = _git(tmp_path, "rev-parse", "HEAD").strip()
    assert git_state() == (commit, False)
    (tmp_path / "mlflow.db").touch()
    assert git_state() == (commit, False)
    code.write_text("changed")
    assert git_state() == (commit, True)


def test_git_state_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state() == (None, None)


def test_ranks_import_it_without_the_heavy_libraries() -> None:
    code = (
        "import sys, bench.study.record, bench.study.timeline, bench.study.table, bench.study.progress\n"
        "heavy = {'torch', 'numpy', 'mlflow', 'pandas', 'matplotlib', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
