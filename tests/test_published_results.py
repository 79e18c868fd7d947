"""``python -m bench results``: everything that is published, of the records alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import main
from bench.config import RunConfig
from bench.record.records_file import RecordsFile
from bench.study.report.markdown import filled
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
PAGE = """# Mine

<!-- mine: accuracy -->
an old table
<!-- end -->
<!-- another: accuracy -->
stays
<!-- end -->
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's, with an experiment and nothing run yet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/mine.yaml").write_text(EXPERIMENT)
    (tmp_path / "README.md").write_text(PAGE)
    return tmp_path


def runs() -> list[RunConfig]:
    return [point.config for point in sweep(["+experiment=mine"], RUN.beside(None))]


def keep(path: Path, host: str, speed: float, **environment: object) -> None:
    for number, run in enumerate(runs()):
        accuracies = (0.4, 0.6 + number / 100)
        known = {"host": host, **environment}
        RecordsFile(path).keep(record_of(run, speed * run.stages, accuracies, environment=known))


@pytest.mark.usefixtures("without_pictures")
def test_all_of_it_is_made_of_records(place: Path) -> None:
    keep(place / "results/mine/records.jsonl", "a", 100.0)
    assert main(["results"]) == 0
    page = (place / "results/README.md").read_text()
    assert "## mine" in page
    assert "What is made up of the digits: two numbers of stages, five seeds." in page
    assert "(mine/records.jsonl)" in page
    readme = (place / "README.md").read_text()
    assert "an old table" not in readme
    assert "<!-- another: accuracy -->\nstays\n<!-- end -->" in readme
    table = readme.partition("<!-- mine: accuracy -->\n")[2].partition("\n<!-- end -->")[0]
    assert table in page
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    # The script lies where all pages find it, whichever is written first: once, it came to lie beside that one.
    (script,) = place.rglob("plotly.min.js")
    assert script == place / "results/plotly.min.js"
    script.unlink()
    assert main(["results"]) == 0
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_nothing_kept_is_one_message(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results"]) == 2
    assert "no experiment has a file of records" in capsys.readouterr().err
    assert main(["results", "stages=2"]) == 2
    assert "results takes no overrides" in capsys.readouterr().err
    assert not (place / "results").exists()


def test_a_page_without_places_stays_as_it_is() -> None:
    assert filled("# A\n\ntext\n", {("a", "b"): "table"}) == "# A\n\ntext\n"
