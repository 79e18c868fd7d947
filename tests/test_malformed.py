"""A record that is JSON and no record stops neither a sweep nor a report: it is named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import main
from bench.system.file import write_json_atomic
from tests.commands import TINY, read_json

SPOILT: dict[str, object] = {
    "status": {},
    "metrics": [],
    "epochs": None,
    "config": [],
    "finished": "yesterday",
    "data": None,
    "environment": None,
}


@pytest.mark.usefixtures("without_pictures")
def test_what_is_no_record_is_passed_over_and_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs_dir = tmp_path / "runs"
    words = [*TINY, "engine=reference", f"runs_dir={runs_dir}"]
    sweep = ["-m", *words, f"seed=range({len(SPOILT) + 1})", "epochs=1"]
    assert main(sweep) == 0
    files = sorted(runs_dir.glob("*/record.json"))
    before = {file: read_json(file) for file in files}
    for (key, value), file in zip(SPOILT.items(), files[1:], strict=True):
        write_json_atomic(file, {**before[file], key: value})
    capsys.readouterr()

    assert main(["report", f"runs_dir={runs_dir}", "--results", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert [line.partition("=")[0] for line in said.err.splitlines()] == [
        f"passed over: {file}: {key}" for key, file in zip(SPOILT, files[1:], strict=True)
    ]
    assert "1 runs: " in said.out
    assert main([*sweep, "dry_run=true"]) == 0
    said = capsys.readouterr()
    assert said.out.endswith(f"8 points, {len(SPOILT)} to run, about {said.out.split()[-1]}\n")

    assert main(sweep) == 0
    said = capsys.readouterr()
    assert said.err.count("; it is set aside as record.json.corrupt, and the run made again\n") == len(SPOILT)
    assert said.err.count("has a record in") == 1
    assert "Traceback" not in said.err
    for file in files:
        again, whole = read_json(file), before[file]
        assert again["metrics"]["accuracy/test"] == whole["metrics"]["accuracy/test"]
        assert again.keys() == whole.keys()
    assert len(list(runs_dir.glob("*/record.json.corrupt"))) == len(SPOILT)
