"""Records of several machines, versions and states of the code in one table."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest

from bench.__main__ import main
from bench.record.records_file import RecordsFile
from bench.study.sweep.compose import sweep
from bench.study.sweep.library import RUN
from tests.records import record_of

EXPERIMENT = """# @package _global_
# python -m bench -m +experiment=mine
# What is made up of the digits: two numbers of stages,
# five seeds.
hydra: {sweeper: {params: {seed: "0,1,2,3,4", stages: "1,2"}}}
records: results/mine/records.jsonl
report: {target: 0.5}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's, with an experiment and nothing run yet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/mine.yaml").write_text(EXPERIMENT)
    return tmp_path


def keep(path: Path, host: str, speed: float, **environment: object) -> None:
    for number, point in enumerate(sweep(["+experiment=mine"], RUN.beside(None))):
        run, accuracies = point.config, (0.4, 0.6 + number / 100)
        known = {"host": host, **environment}
        RecordsFile(path).keep(record_of(run, speed * run.stages, accuracies, environment=known))


@pytest.mark.usefixtures("without_pictures")
def test_two_machines_are_one_table(place: Path) -> None:
    """A seed counts once for what a machine does not decide; speeds are each machine's own."""
    first, second = place / "a.jsonl", place / "b.jsonl"
    keep(first, "a", 100.0)
    keep(second, "b", 300.0)
    (place / "both.jsonl").write_text(first.read_text() + second.read_text())
    words = ["-m", "+experiment=mine", f"records={place}/both.jsonl", "--results", str(place / "both")]
    assert main(["report", *words]) == 0
    accuracy = pandas.read_csv(place / "both/accuracy.csv")
    assert list(accuracy["n"]) == [5, 5]
    throughput = pandas.read_csv(place / "both/throughput.csv")
    assert [tuple(row) for row in throughput[["K", "host", "n"]].itertuples(index=False)] == [
        (1, "a", 5),
        (1, "b", 5),
        (2, "a", 5),
        (2, "b", 5),
    ]
    assert list(throughput["images_per_second"]) == [100.0, 300.0, 200.0, 600.0]
    assert len(pandas.read_csv(place / "both/runs.csv")) == 20
    assert main(["-m", "+experiment=mine", f"records={place}/both.jsonl", "tracking=none", "dry_run=true"]) == 0


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"git_dirty": True}, "10 of 10 of uncommitted code"),
        ({"engine_version": 999}, "10 of 10 of another version of the engine"),
    ],
)
def test_what_nobody_can_make_again_is_marked(
    place: Path, capsys: pytest.CaptureFixture[str], environment: dict[str, object], words: str
) -> None:
    keep(place / "results/mine/records.jsonl", "a", 100.0, **environment)
    assert main(["report", "-m", "+experiment=mine"]) == 0
    assert words in capsys.readouterr().out
    assert words in (place / "results/mine/report.html").read_text()
    for table in ("accuracy", "throughput"):
        marked = pandas.read_csv(place / f"results/mine/{table}.csv")["in_doubt"]
        assert set(marked) == {words.replace("10 of 10", "5 of 5")}
