"""A run's folder: what is written is read back, and what is broken says so."""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.config import parse_recorded
from bench.record.environment import environment, git_state
from bench.record.folder import RecordError, RunFolder, WithoutResult, flatten
from bench.record.tail import Tail
from bench.study.report.result import read_run
from bench.system.file import write_json_atomic
from tests.records import record_of
from tests.tiny import config


def test_events_come_back_in_order_with_their_time(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.clear()
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
    folder.append({"event": "waiting"})
    with folder.events_file.open("a") as file:
        file.write('{"event": "progr')
    assert [event["event"] for event in folder.events()] == ["waiting"]


EPOCH = {"event": "epoch", "time": 1.0, "epoch": 0, "step": 3, "time/train_seconds": 2.0, "accuracy/test": None}


@pytest.mark.parametrize(
    "line",
    [
        b'{"event',
        b"\xff",
        b"[]",
        b"3",
        b"[" * 100000,
        b"{}",
        b'{"event": [], "time": 1}',
        b'{"event": "finished", "time": "now"}',
        b'{"event": "started", "time": 1, "epochs": 2}',
        json.dumps({**EPOCH, "epoch": None}).encode(),
        json.dumps({**EPOCH, "accuracy/test": "high"}).encode(),
        json.dumps({**EPOCH, "lr": {}}).encode(),
    ],
)
def test_a_line_that_is_no_event_names_file_and_line(tmp_path: Path, line: bytes) -> None:
    folder = RunFolder(tmp_path)
    folder.append(EPOCH)
    with folder.events_file.open("ab") as file:
        file.write(line + b"\n")
    folder.append({"event": "finished"})
    with pytest.raises(RecordError, match=r"events\.jsonl, line 2: ") as raised:
        list(folder.events())
    assert "\n" not in str(raised.value)
    assert [event["event"] for event in Tail(folder).read()] == ["epoch", "finished"]


POINT = config(stages=2, replicas=2, staleness=2)


def _folder(runs_dir: Path, record: object, name: str = POINT.hash()) -> RunFolder:
    folder = RunFolder(runs_dir / name)
    write_json_atomic(folder.record, record)
    return folder


def test_a_record_comes_back(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / POINT.hash()).read_record() is None
    written = record_of(POINT, accuracies=[0.5, None])
    folder = _folder(tmp_path, written)
    assert folder.read_record() == written
    assert [path.name for path in folder.path.iterdir()] == ["record.json"]


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    written = record_of(POINT)
    written["metrics"] |= {"loss/test": math.nan, "lr/cap": math.inf}
    found = _folder(tmp_path, written).read_record()
    assert found is not None
    assert found == {**written, "metrics": {**written["metrics"], "loss/test": None, "lr/cap": None}}


@pytest.mark.parametrize("text", ["", "{", '{"schema": 2}', "{}", "[]", "\udcff", "[" * 100000])
def test_a_record_that_cannot_be_read_names_the_file(tmp_path: Path, text: str) -> None:
    folder = RunFolder(tmp_path)
    folder.record.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RecordError, match=r"record\.json: "):
        folder.read_record()


def test_a_record_that_is_a_folder_is_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.record.mkdir()
    with pytest.raises(RecordError, match=r"record\.json: .*Is a directory"):
        folder.read_record()


WRONG: dict[str, tuple[tuple[str | int, ...], object]] = {
    "status={}: must be 'done' or 'diverged'": (("status",), {}),
    "metrics=[]: must be a valid dictionary": (("metrics",), []),
    "epochs=None: must be a valid list": (("epochs",), None),
    "config=[]: must be a valid dictionary": (("config",), []),
    "finished='yesterday': must be a time in ISO 8601 with its zone": (("finished",), "yesterday"),
    "data=None: must be a valid dictionary": (("data",), None),
    "environment=None: must be a valid dictionary": (("environment",), None),
    "rates=None: must be a valid dictionary": (("rates",), None),
    "rates.verdict=3: must be a valid string": (("rates",), {"verdict": 3, "conditions": []}),
    "epochs=[]: must have at least 1 item": (("epochs",), []),
    "epochs.0.step='10': must be a valid integer": (("epochs", 0, "step"), "10"),
    "epochs.0.accuracy/test=90: must be from 0 to 1": (("epochs", 0, "accuracy/test"), 90),
    "metrics.throughput/images_per_second=None: must be a valid number": (
        ("metrics", "throughput/images_per_second"),
        None,
    ),
    "metrics.lr/cap='none': must be a valid number": (("metrics", "lr/cap"), "none"),
    "metrics.accuracy/test=True: must be a valid number": (("metrics", "accuracy/test"), True),
    "agents: must be one of each of 4": (("agents",), []),
    "agents.1.seconds.forward=-1.0: must be greater than or equal to 0": (("agents", 1, "seconds", "forward"), -1.0),
    "partition: must be of stages below 2": (("partition", 1, "stage"), 2),
    "data.test_images='three': must be a valid number": (("data", "test_images"), "three"),
    "has no data.train_images": (("data",), {"name": "synthetic", "digest": "d1", "test_images": 3}),
    "environment.oversubscribed='no': must be a valid boolean": (("environment", "oversubscribed"), "no"),
    "environment.colocated='no': must be a valid boolean": (("environment", "colocated"), "no"),
    "config.stages='2': must be a valid integer": (("config", "stages"), "2"),
    "config.lr=None: must be a valid dictionary": (("config", "lr"), None),
    "method=gpipe has no microbatches": (("config",), {**POINT.resolved(), "method": "gpipe", "microbatches": None}),
    "config: is not that of the run": (("config", "lr", "gamma0"), "fast"),
    "has no config.weights": (("config",), {key: value for key, value in POINT.resolved().items() if key != "weights"}),
}
"""A message for each malformation, in a line: what a sweep, a report and a mirror would stumble over."""


def spoilt(where: Sequence[str | int], value: object) -> dict[str, Any]:
    """A record with another value in one place."""
    record = copy.deepcopy(record_of(POINT))
    place: Any = record
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    return record


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_with_a_record_is_told(tmp_path: Path, message: str) -> None:
    folder = _folder(tmp_path, spoilt(*WRONG[message]))
    with pytest.raises(RecordError) as raised:
        folder.read_record()
    assert str(raised.value).startswith(f"{folder.record}: {message}")
    assert "\n" not in str(raised.value)


def test_the_record_of_an_older_version_is_read(tmp_path: Path) -> None:
    """The older record has no corrections, clipping, microbatches or conditions of convergence; fewer kinds of time."""
    record = record_of(POINT)
    for key in ("clip", "correction", "microbatches"):
        del record["config"][key]
    for key in ("staleness_power", "require_convergent"):
        del record["config"]["lr"][key]
    for agent in record["agents"]:
        agent["seconds"] = {"forward": 3.0, "backward": 1.0}
    found = _folder(tmp_path, record).read_record()
    assert found == record
    assert read_run(found).keys == flatten(POINT.canonical())
    assert parse_recorded(record["config"]) == POINT


def test_a_record_that_lacks_something_says_what(tmp_path: Path) -> None:
    record = record_of(POINT)
    del record["metrics"], record["agents"], record["data"]["name"]
    with pytest.raises(RecordError, match=r"record\.json: has no data\.name; has no metrics; has no agents$"):
        _folder(tmp_path, record).read_record()


def test_the_record_of_another_run_is_refused(tmp_path: Path) -> None:
    """A folder that was copied would count twice."""
    folder = _folder(tmp_path, record_of(POINT), "copy")
    with pytest.raises(RecordError, match=f"config_hash='{POINT.hash()}' is not its folder's name"):
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
    assert "colocated" not in found
    assert environment(oversubscribed=False, colocated=True)["colocated"] is True
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert (found["oversubscribed"], found["gpu"]) == (True, "H100")
    assert found["torch"].startswith("2.")
    assert found["cpu"]


def _git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_git_state_of_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "bench"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setattr(bench, "__file__", str(package / "__init__.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() == (None, None)
    _git(tmp_path, "init", "--quiet")
    assert git_state() == (None, None)
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "--quiet", "--message", "one")
    commit = _git(tmp_path, "rev-parse", "HEAD").strip()
    assert git_state() == (commit, False)
    (tmp_path / "mlflow.db").touch()
    (tmp_path / "records.jsonl").touch()
    assert git_state() == (commit, False)
    # A choice is found by where it lies, whether git knows it or not.
    (package / "mine.py").touch()
    assert git_state() == (commit, True)
    (package / "mine.py").unlink()
    (package / "__init__.py").write_text("changed")
    assert git_state() == (commit, True)


def test_git_state_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state() == (None, None)


def test_ranks_import_it_without_the_heavy_libraries() -> None:
    code = (
        "import sys, bench.record.folder, bench.study.report.timeline, bench.study.report.terminal\n"
        "import bench.study.launcher.progress\n"
        "heavy = {'torch', 'numpy', 'mlflow', 'pandas', 'matplotlib', 'tqdm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
