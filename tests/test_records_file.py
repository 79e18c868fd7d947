"""A sweep as one file: what is in it is not run again, and tables are made of it alone."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.record.records_file import RecordsFile
from bench.study.report.result import read_run
from bench.study.sweep.compose import points
from bench.study.sweep.library import RUN, Primary
from bench.study.tune.study import TUNE
from tests import tiny
from tests.records import record_of

SWEEP = ["-m", "stages=1,2", "staleness=0", "model=mlp", "model.hidden=8", "data=synthetic", "data.train_size=64"]
SWEEP += ["data.test_size=32", "epochs=1", "engine=reference", "partition=counted", "tracking=none"]


def _names(path: Path) -> list[str]:
    return [json.loads(line)["config_hash"] for line in path.read_text().splitlines()]


def test_a_run_stands_in_it_once_for_each_machine(tmp_path: Path) -> None:
    file = RecordsFile(tmp_path / "deep" / "records.jsonl")
    run, other = tiny.config(), tiny.config(seed=1)
    assert (list(file.records()), file.find(run.hash())) == ([], None)
    for speed, host in ((100.0, "a"), (200.0, "a"), (300.0, "b")):
        file.keep(record_of(run, speed, environment={"host": host}))
    file.keep(record_of(other))
    found = file.read(read_run)
    assert not found.problems
    assert [(each.name, each.metrics["throughput/images_per_second"]) for each in found.runs] == [
        (run.hash(), 200.0),
        (run.hash(), 300.0),
        (other.hash(), 100.0),
    ]
    assert [each.name for each in file.read(read_run, {other.hash()}).runs] == [other.hash()]
    known = file.find(run.hash())
    assert known is not None
    assert known["environment"]["host"] == "a"


def test_what_is_no_record_is_named_and_stays(tmp_path: Path) -> None:
    file = RecordsFile(tmp_path / "records.jsonl")
    file.path.write_text('{"half": \n[1]\n')
    file.keep(record_of(tiny.config()))
    found = file.read(read_run)
    assert len(found.runs) == 1
    assert [problem.partition(":")[0] for problem in found.problems] == [f"{file.path}, line {n}" for n in (1, 2)]


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    file = RecordsFile(tmp_path / "records.jsonl")
    records = [record_of(tiny.config(seed=seed)) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda record: RecordsFile(file.path).keep(record), records))
    assert sorted(_names(file.path)) == sorted(record["config_hash"] for record in records)


def test_a_sweep_skips_what_is_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So a clone, which has no runs, goes on where another machine stopped; a removed line, or force, runs again."""
    file, first, second = tmp_path / "records.jsonl", tmp_path / "first", tmp_path / "second"
    assert main([*SWEEP, f"records={file}", f"runs_dir={first}"]) == 0
    table = capsys.readouterr().out.splitlines()[:4]
    whole = file.read_text()
    assert len(_names(file)) == 2
    assert main([*SWEEP, f"records={file}", f"runs_dir={second}"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[:4] == table
    assert said.err.count(f"has a record in {file}, skipped") == 2
    assert not list(second.glob("*/record.json"))
    assert file.read_text() == whole
    removed, kept = _names(file)
    file.write_text(whole.splitlines()[1] + "\n")
    assert main([*SWEEP, f"records={file}", f"runs_dir={second}"]) == 0
    assert [path.parent.name for path in second.glob("*/record.json")] == [removed]
    assert _names(file) == [kept, removed]
    before = file.read_text()
    assert main([*SWEEP, f"records={file}", f"runs_dir={second}", "force=true"]) == 0
    assert sorted(_names(file)) == sorted([kept, removed])
    assert file.read_text() != before


def test_a_record_that_was_not_kept_is_taken_from_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process may be killed between the two."""
    file = tmp_path / "records.jsonl"
    assert main([*SWEEP, f"runs_dir={tmp_path}"]) == 0
    assert main([*SWEEP, f"records={file}", f"runs_dir={tmp_path}"]) == 0
    assert len(_names(file)) == 2
    assert "skipped" in capsys.readouterr().err


def test_a_record_of_another_version_of_the_engine_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "records.jsonl"
    words = [*SWEEP, f"records={file}", f"runs_dir={tmp_path}"]
    assert main(words) == 0
    for place in (file, *tmp_path.glob("*/record.json")):
        place.write_text(place.read_text().replace('"engine_version": 1', '"engine_version":1'))
        assert '"engine_version":1' in place.read_text()
        place.write_text(place.read_text().replace('"engine_version":1', '"engine_version":999'))
    capsys.readouterr()
    assert main(words) == 0
    assert capsys.readouterr().err.count("of another version of the engine, made again") == 2
    assert all(json.loads(line)["environment"]["engine_version"] == 1 for line in file.read_text().splitlines())


def test_a_report_is_of_the_file_alone_and_lies_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = RecordsFile(tmp_path / "kept" / "records.jsonl")
    file.keep(record_of(tiny.config(), 100.0))
    assert main(["report", f"records={file.path}", f"runs_dir={tmp_path}/none"]) == 0
    assert (file.path.parent / "runs.csv").exists()
    assert main(["report", f"records={tmp_path}/none.jsonl"]) == 2
    assert "holds no records" in capsys.readouterr().err


def test_a_folder_is_no_file_of_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"records={tmp_path}"]) == 2
    assert f"records={str(tmp_path)!r}: is no file that can be read" in capsys.readouterr().err


def test_an_experiments_file_is_of_its_points_alone() -> None:
    """Whoever tries the experiment with another optimizer does not change what is published."""

    def kept(*words: str, multirun: bool = True, experiment: str = "grid", primary: Primary = RUN) -> str | None:
        return points([f"+experiment={experiment}", *words], multirun, primary)[0].settings.records

    own = "results/grid/records.jsonl"
    assert kept() == own
    assert kept("tracking=none", "runs_dir=elsewhere", "force=true") == own
    assert kept("stages=1", "replicas=2") == own
    assert kept("stages=1", "replicas=1", "staleness=0", "seed=0", multirun=False) == own
    assert kept("optimizer=adamw") is None
    assert kept("stages=1,4") is None
    assert kept("records=mine.jsonl", "optimizer=adamw") == "mine.jsonl"
    assert kept("records=null") is None
    # A study's database lies in runs_dir, and is another value there: once, the published studies were kept nowhere.
    assert kept("runs_dir=elsewhere", experiment="tuning", primary=TUNE) == "results/tuning/records.jsonl"
    assert kept("trials=3", experiment="tuning", primary=TUNE) is None
