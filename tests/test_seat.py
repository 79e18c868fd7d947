"""Ranks are heeded where torchrun says them, with all of its variables, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.__main__ import main
from bench.engine.seat import Seat, seats, torchrun_seat
from tests.commands import TINY, TORCHRUN, read_json


def _setenv(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_torchrun_says_the_seat(monkeypatch: pytest.MonkeyPatch) -> None:
    _setenv(monkeypatch, TORCHRUN | {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"})
    assert torchrun_seat() == Seat(3, 4, 1, 2)


@pytest.mark.parametrize("missing", TORCHRUN)
@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_missing_unmakes_them_all(
    missing: str, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = {name: own for name, own in TORCHRUN.items() if name != missing}
    _setenv(monkeypatch, left if value is None else left | {missing: value})
    assert torchrun_seat() is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"RANK": "abc"},
        {"RANK": "-1"},
        {"RANK": "1.0"},
        {"RANK": "1"},
        {"WORLD_SIZE": "0"},
        {"LOCAL_RANK": "1"},
        {"LOCAL_WORLD_SIZE": "2"},
    ],
    ids=str,
)
def test_numbers_that_are_none_or_contradict_each_other_unmake_them_all(
    wrong: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _setenv(monkeypatch, TORCHRUN | wrong)
    assert torchrun_seat() is None


def test_on_one_machine_a_seat_is_as_local_as_it_is() -> None:
    assert seats(2) == [Seat(0, 2, 0, 2), Seat(1, 2, 1, 2)]
    assert Seat() == seats(1)[0]


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("leftover", [{"RANK": "3"}, {"RANK": ""}, {"RANK": "abc", "WORLD_SIZE": "x"}], ids=str)
@pytest.mark.usefixtures("without_pictures")
def test_a_sweep_does_not_heed_what_is_left_over(
    leftover: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``RANK=3`` made one point of two, without a word, and a record that lacked half of it."""
    _setenv(monkeypatch, leftover | {"LOCAL_RANK": "7", "LOCAL_WORLD_SIZE": "many"})
    assert main(["-m", *TINY, "engine=reference", "seed=0,1", "epochs=1", f"runs_dir={tmp_path}"]) == 0
    records = [read_json(path) for path in tmp_path.glob("*/record.json")]
    assert sorted(record["config"]["seed"] for record in records) == [0, 1]
    for record in records:
        assert record["environment"]["cores"] >= 1
        assert record["rates"]["shape"]
        assert Path(tmp_path, record["config_hash"], "lock").exists()
    assert capsys.readouterr().out.count("| done") == 2


def test_torchrun_starts_as_many_processes_as_there_are_agents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _setenv(monkeypatch, TORCHRUN)
    assert main([*TINY, "stages=2", "replicas=3", f"runs_dir={tmp_path / 'runs'}"]) == 2
    assert capsys.readouterr().err == (
        "bench: torchrun: stages=2 replicas=3 need 6 processes, and it has started 1; allowed is nnodes times "
        "nproc-per-node = 6\n"
    )
    assert not list(tmp_path.iterdir())
