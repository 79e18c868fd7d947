"""Studies as one file: a clone, which has no database, has their trials from it, and makes the same tables of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import main
from tests.test_tune import SMALL


def _tune(folder: Path, *words: str) -> int:
    place = (f"records={folder.parent}/kept/records.jsonl", f"runs_dir={folder}/runs", "tracking=none")
    return main(["tune", *SMALL, *place, "engine=reference", "trials=6", "tuning.pruning=true", "epochs=4", *words])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of records, made in one place, whose runs and database are not looked at again."""
    folder = tmp_path_factory.mktemp("studies")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert _tune(folder / "first", f"tuning.database={folder}/first.db") == 0
    return folder / "kept"


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")}


def test_a_clone_searches_nothing_again(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _files(kept)
    assert {"records.jsonl", "trials.jsonl", "studies.csv", "trials.csv", "report.html"} < set(before)
    monkeypatch.chdir(kept.parent)
    assert _tune(kept.parent / "second", f"tuning.database={kept.parent}/second.db") == 0
    assert not list((kept.parent / "second").glob("runs/*/record.json"))
    assert _files(kept) == before
    assert "skipped" in capsys.readouterr().err


def test_a_report_is_made_of_the_files_alone(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = _files(kept)
    for table in ("studies.csv", "trials.csv", "report.html", "small.png"):
        (kept / table).unlink()
    assert _tune(kept.parent / "third", f"tuning.database={tmp_path}/none.db", "--report") == 0
    assert _files(kept) == before
    assert not list(tmp_path.glob("*.db"))
    assert (tmp_path / "conf/lr/tuned/small.yaml").read_text() == (kept.parent / "conf/lr/tuned/small.yaml").read_text()


def test_another_search_space_is_begun_anew(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The experiment's file has changed, and its table is to follow."""
    monkeypatch.chdir(tmp_path)
    words = [f"tuning.database={tmp_path}/new.db", "trials=1", "tuning.momentum=[0.5,0.5]", "tuning.repeats=0"]
    own = tmp_path / "kept"
    own.mkdir()
    (own / "trials.jsonl").write_bytes((kept / "trials.jsonl").read_bytes())
    assert _tune(tmp_path / "fourth", *words, "epochs=1") == 0
    assert (own / "trials.jsonl").read_text().count('"state"') == 1


def test_nothing_kept_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _tune(tmp_path / "none", "--report") == 2
    assert "tuning.study='small': is kept in" in capsys.readouterr().err
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/trials.jsonl").write_text("nonsense\n")
    assert _tune(tmp_path / "none", "--report") == 2
    assert "holds a line that is no study" in capsys.readouterr().err
