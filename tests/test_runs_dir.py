"""All that a folder of runs holds is read, and what is broken is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.record.folder import RunFolder
from bench.record.runs_dir import Sweep, read_records, read_sweeps
from tests.records import keep_records, record_of
from tests.tiny import config


def _records(runs_dir: Path, count: int) -> list[str]:
    """Hashes of runs that have a record, in order."""
    records = [record_of(config(seed=seed)) for seed in range(count)]
    keep_records(runs_dir, *records)
    return sorted(map(_name, records))


def _name(record: dict[str, Any]) -> str:
    return str(record["config_hash"])


def test_records_failures_and_problems_are_told_apart(tmp_path: Path) -> None:
    *names, cut = _records(tmp_path, 3)
    whole = (tmp_path / cut / "record.json").read_text()
    (tmp_path / cut / "record.json").write_text(whole[:40])
    RunFolder(tmp_path / "failed").write_failure("rank 1 was killed", "failed")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/failure.json").write_text("[]")
    (tmp_path / "running").mkdir()
    (tmp_path / "a file").touch()
    found = read_records(tmp_path, _name)
    assert found.runs == names
    assert found.failures == {"failed": "rank 1 was killed"}
    assert [problem.split(": ")[0] for problem in found.problems] == [
        f"{tmp_path}/{cut}/record.json",
        f"{tmp_path}/odd/failure.json",
    ]


def test_some_runs_can_be_asked_for(tmp_path: Path) -> None:
    first, _, last = _records(tmp_path, 3)
    assert read_records(tmp_path, _name, only=[last, first, "z"]).runs == [first, last]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    found = read_records(tmp_path / "runs", _name)
    assert (found.runs, found.failures, found.problems) == ([], {}, [])
    assert list(read_sweeps(tmp_path / "runs")) == []


def test_sweeps_are_remembered_by_their_points(tmp_path: Path) -> None:
    sweep = Sweep(("stages=1,2",), ("a", "b"))
    sweep.write(tmp_path)
    Sweep(("stages=2,1",), ("b", "a")).write(tmp_path)
    Sweep(("seed=1",), ("c", "d")).write(tmp_path)
    for number, text in enumerate(["{", "[]", "7", '{"overrides": []}', '{"overrides": [], "points": [1, 2]}']):
        (tmp_path / f"sweeps/broken{number}.json").write_text(text)
    remembered = list(read_sweeps(tmp_path))
    assert len(remembered) == 2
    assert {item.name for item in remembered} == {sweep.name, Sweep((), ("d", "c")).name}
    assert not read_records(tmp_path, _name).problems


def test_a_log_that_was_cut_is_named_and_its_record_counts(tmp_path: Path) -> None:
    texts = ['{"event": "epoch"}\n', '{"event": "fini', "", "[]\n", '"finished"\n', "[" * 3000]
    names = _records(tmp_path, len(texts))
    for name, text in zip(names, texts, strict=True):
        (tmp_path / name / "events.jsonl").write_text(text)
    found = read_records(tmp_path, _name)
    assert found.runs == names
    assert [problem.split(": ")[0] for problem in found.problems] == [
        f"{tmp_path}/{name}/events.jsonl" for name in names
    ]
