"""All that a folder of runs holds is read, and what is broken is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.study.record import KEYS, RunFolder
from bench.study.shelf import Sweep, read_shelf, read_sweeps


def _record(runs_dir: Path, name: str) -> None:
    folder = RunFolder(runs_dir / name)
    folder.append({"event": "finished"})
    folder.write_record({"schema": 1, **dict.fromkeys(KEYS), "config_hash": name})


def _name(record: dict[str, Any]) -> str:
    return str(record["config_hash"])


def test_records_failures_and_problems_are_told_apart(tmp_path: Path) -> None:
    _record(tmp_path, "b")
    _record(tmp_path, "a")
    _record(tmp_path, "cut")
    whole = (tmp_path / "cut/record.json").read_text()
    (tmp_path / "cut/record.json").write_text(whole[:40])
    RunFolder(tmp_path / "failed").write_failure("rank 1 was killed", "failed")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/failure.json").write_text("[]")
    (tmp_path / "running").mkdir()
    (tmp_path / "a file").touch()
    shelf = read_shelf(tmp_path, _name)
    assert shelf.runs == ["a", "b"]
    assert shelf.failures == {"failed": "rank 1 was killed"}
    assert [problem.split(": ")[0] for problem in shelf.problems] == [
        f"{tmp_path}/cut/record.json",
        f"{tmp_path}/odd/failure.json",
    ]


def test_some_runs_can_be_asked_for(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        _record(tmp_path, name)
    assert read_shelf(tmp_path, _name, only=["c", "a", "z"]).runs == ["a", "c"]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    shelf = read_shelf(tmp_path / "runs", _name)
    assert (shelf.runs, shelf.failures, shelf.problems) == ([], {}, [])
    assert list(read_sweeps(tmp_path / "runs")) == []


def test_sweeps_are_remembered_by_their_points(tmp_path: Path) -> None:
    sweep = Sweep(("stages=1,2",), ("a", "b"))
    sweep.write(tmp_path)
    Sweep(("stages=2,1",), ("b", "a")).write(tmp_path)
    Sweep(("seed=1",), ("c", "d")).write(tmp_path)
    (tmp_path / "sweeps/broken.json").write_text("{")
    remembered = list(read_sweeps(tmp_path))
    assert len(remembered) == 2
    assert {item.name for item in remembered} == {sweep.name, Sweep((), ("d", "c")).name}
    assert not read_shelf(tmp_path, _name).problems


def test_a_log_that_was_cut_is_named_and_its_record_counts(tmp_path: Path) -> None:
    for name, text in {"a": '{"event": "epoch"}\n', "b": '{"event": "fini', "c": ""}.items():
        _record(tmp_path, name)
        (tmp_path / name / "events.jsonl").write_text(text)
    shelf = read_shelf(tmp_path, _name)
    assert shelf.runs == ["a", "b", "c"]
    assert [problem.split(": ")[0] for problem in shelf.problems] == [
        f"{tmp_path}/{name}/events.jsonl" for name in "abc"
    ]


def test_what_cannot_be_made_of_a_record_is_named(tmp_path: Path) -> None:
    _record(tmp_path, "a")
    shelf = read_shelf(tmp_path, lambda record: record["metrics"]["accuracy/test"])
    assert shelf.runs == []
    assert shelf.problems == [f"{tmp_path}/a/record.json: TypeError 'NoneType' object is not subscriptable"]
