"""A study's trials in their database: each given out once, none lost, whatever happens to those who run them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.keys import ConfigError
from bench.study.sweep.compose import single
from bench.study.tune.space import space_of
from bench.study.tune.study import TUNE, study_of
from bench.study.tune.trials import Trials
from bench.system.heartbeat import TALKING
from bench.system.process import machine
from tests.commands import await_that

DEAD = f"{2**22 + 1}:7@{machine()}"
"""No process has this name: Linux gives no such id."""


def opened(database: Path | str, *overrides: str) -> Trials:
    wanted = study_of(single(["trials=6", "epochs=9", f"tuning.database={database}", *overrides], TUNE))
    trials = Trials(wanted)
    trials.open(space_of(wanted, 0.02, 220, 22))
    return trials


def states(trials: Trials) -> list[str]:
    return [trial.state.name for trial in trials.all()]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "studies.db"


def test_there_are_as_many_as_asked_for(database: Path) -> None:
    trials = opened(database)
    positions = []
    while (claim := trials.claim()) is not None:
        positions.append(claim.position)
        trials.finish(claim, [0.5])
    assert positions == [1, 2, 3, 4, 5, 6]
    assert trials.is_over()
    assert states(trials) == ["COMPLETE"] * 6


def test_the_same_command_goes_on_to_the_total_with_a_fresh_seed(database: Path) -> None:
    """Random suggestions of a sampler that is seeded the same again would be the same again."""
    drawn = []
    for total in (3, 6):
        trials = opened(database, f"trials={total}")
        while (claim := trials.claim()) is not None:
            drawn.append(claim.settings["lr"]["gamma0"])
            trials.finish(claim, [0.5])
    assert states(trials) == ["COMPLETE"] * 6
    assert len(set(drawn)) == 6


def test_two_studies_of_one_seed_begin_alike(database: Path) -> None:
    """What both of them search is compared on the same draws."""
    rates = []
    for name in ("one", "two"):
        trials = opened(database, f"tuning.study={name}")
        claim = trials.claim()
        assert claim is not None
        rates.append(claim.settings["lr"]["gamma0"])
    assert rates[0] == rates[1]


def test_a_trial_whose_process_is_dead_is_tried_once_more(database: Path) -> None:
    trials = opened(database, "trials=2")
    first = trials.claim()
    assert first is not None
    first.trial.set_user_attr("process", DEAD)
    again = trials.claim()
    assert again is not None
    assert (again.position, again.settings) == (first.position, first.settings)
    assert states(trials) == ["FAIL", "RUNNING"]
    # Once more, and no more than that: it counts as failed.
    again.trial.set_user_attr("process", DEAD)
    second = trials.claim()
    assert second is not None
    assert second.position == 2
    assert second.settings != first.settings
    trials.finish(second, [0.5])
    assert trials.claim() is None
    assert trials.is_over()
    assert states(trials) == ["FAIL", "FAIL", "COMPLETE"]
    assert [trial.state.name for trial in trials.counted()] == ["FAIL", "COMPLETE"]


def test_a_trial_of_another_machine_is_its_own_while_its_heart_beats(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process id means nothing here."""
    trials = opened(database, "trials=1")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("bench.system.process.machine", lambda: "other/boot/1")
        there = opened(database, "trials=1").claim()
    assert there is not None
    assert trials.claim() is None
    assert not trials.is_over()
    there.trial.set_user_attr("heartbeat", "1000000000")
    again = trials.claim()
    assert again is not None
    assert again.settings == there.settings
    assert states(trials) == ["FAIL", "RUNNING"]


def test_the_heart_beats_while_a_trial_runs(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.system.process.BEAT_SECONDS", 0.01)
    trials = opened(database, "trials=1")
    claim = trials.claim()
    assert claim is not None
    claim.trial.set_user_attr("heartbeat", "0")
    await_that(lambda: int(trials.all()[0].user_attrs["heartbeat"]), lambda: "no heartbeat")
    trials.finish(claim, [0.5])
    await_that(lambda: not trials._heartbeat.is_on, lambda: "the heart goes on beating")


def test_a_heart_without_a_trial_leaves_the_database_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last beat, up to a minute after a study's end, made the database's folder anew, wherever that was by then."""
    monkeypatch.setattr("bench.system.process.BEAT_SECONDS", 0.01)
    runs = tmp_path / "runs"
    trials = opened(runs / "studies.db", "trials=1")
    claim = trials.claim()
    assert claim is not None
    with TALKING:
        trials.finish(claim, [0.5])
        shutil.rmtree(runs)
    await_that(lambda: not trials._heartbeat.is_on, lambda: "the heart goes on beating")
    assert not runs.exists()


def test_a_process_killed_before_it_wrote_its_name_is_dead(database: Path) -> None:
    """It was killed between asking for a trial and saying whose it is."""
    trials = opened(database, "trials=1")
    trials._study.ask()
    claim = trials.claim()
    assert claim is not None
    assert states(trials) == ["FAIL", "RUNNING"]
    trials.finish(claim, [0.5])
    assert trials.is_over()


def test_one_that_fails_is_tried_once_more(database: Path) -> None:
    trials = opened(database, "trials=1")
    for is_last in (False, True):
        claim = trials.claim()
        assert claim is not None
        assert trials.fail(claim) is not is_last
    assert trials.claim() is None
    assert trials.is_over()
    assert trials.best() is None


def test_a_trial_below_the_median_is_pruned(database: Path) -> None:
    """The first three of nine epochs are for everyone; and four trials must have ended."""
    trials = opened(database)
    for accuracy in (0.8, 0.9, 0.7, 0.8):
        claim = trials.claim()
        assert claim is not None
        assert not any(trials.report(claim, epoch, accuracy) for epoch in range(8))
        trials.finish(claim, [accuracy])
    good, bad = trials.claim(), trials.claim()
    assert good is not None
    assert bad is not None
    assert [trials.report(good, epoch, 0.85) for epoch in range(5)] == [False] * 5
    assert [trials.report(bad, epoch, 0.75) for epoch in range(5)] == [False, False, False, True, True]
    trials.prune(bad)
    trials.finish(good, [0.85])
    best = trials.best()
    assert states(trials) == ["COMPLETE"] * 5 + ["PRUNED"]
    assert best is not None
    assert best.number == 1


def test_the_best_one_keeps_to_its_constraints(database: Path) -> None:
    trials = opened(database, "tuning.conditions=constraint", "trials=3")
    for accuracy, excess in ((0.9, 0.1), (0.7, 0.0), (0.6, -0.5)):
        claim = trials.claim()
        assert claim is not None
        trials.constrain(claim, "cap", excess)
        trials.finish(claim, [accuracy])
    best = trials.best()
    assert best is not None
    assert best.values == [0.7]


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("epochs=10", "epochs=9 there, 10 here"),
        ("tuning.p=[0.6,1]", "tuning.p=[0.51, 1.0] there, [0.6, 1.0] here"),
        ("tuning.conditions=none", "tuning.conditions=bound there, none here"),
        ("staleness=0", "staleness=2 there, 0 here"),
        ("model.depth=8", "model.depth=20 there, 8 here"),
    ],
)
def test_a_study_of_another_search_space_is_refused(database: Path, override: str, difference: str) -> None:
    opened(database, "tuning.study=mine", "trials=2")
    # More trials are the same study, as is whatever does not bear on a trial's result.
    opened(database, "tuning.study=mine", "trials=9", "tracking=none", "lr=constant", "optimizer.momentum=0.5")
    with pytest.raises(ConfigError) as caught:
        opened(database, "tuning.study=mine", override)
    start = f"tuning.study='mine': {database} has a study of another search space under this name ("
    assert str(caught.value).startswith(start)
    assert difference in str(caught.value)
    assert str(caught.value).endswith("; allowed is another name")


def test_a_study_that_is_not_ours_is_refused(database: Path) -> None:
    import optuna

    opened(database, "tuning.study=mine")
    optuna.create_study(storage=f"sqlite:///{database}", study_name="theirs").enqueue_trial({})
    with pytest.raises(ConfigError, match=r"^tuning\.study='theirs': .* has a study of another search space"):
        opened(database, "tuning.study=theirs")


ALLOWED = "allowed is an SQLite file that can be written and that no other program locks"


def test_a_database_that_is_locked_is_told(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.study.tune.database.FILE_SECONDS", 0.2)
    opened(database)
    other = sqlite3.connect(database)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(ConfigError) as caught:
            opened(database)
    finally:
        other.close()
    assert str(caught.value).startswith(f"tuning.database='{database}': {ALLOWED} (")
    assert "database is locked" in str(caught.value)


def test_a_database_that_cannot_be_written_is_told() -> None:
    """The database is not in pytest's own folders, which another user cannot even enter."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "studies.db")
        opened(database)
        Path(f"{database}.lock").chmod(0o666)
        database.chmod(0o444)
        Path(folder).chmod(0o555)
        with _without_rights(), pytest.raises(ConfigError) as caught:
            opened(database)
        Path(folder).chmod(0o755)
    assert str(caught.value).startswith(f"tuning.database='{database}': {ALLOWED} (")
    assert "readonly database" in str(caught.value)


def test_a_file_that_is_no_database_is_told(database: Path) -> None:
    database.write_text("no database" * 1000)
    with pytest.raises(ConfigError) as caught:
        opened(database)
    assert str(caught.value).startswith(f"tuning.database='{database}': {ALLOWED} (")
    assert "not a database" in str(caught.value)


def test_a_database_in_a_place_without_folders_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^tuning\.database='.*/file/studies\.db': allowed is an SQLite file"):
        opened(tmp_path / "file" / "studies.db")


def test_processes_that_share_a_study_have_each_trial_once(database: Path) -> None:
    """The study itself is made by one of them alone, too."""
    with multiprocessing.get_context("forkserver").Pool(3) as pool:
        parts = pool.starmap(work, [(str(database), 30)] * 3)
    assert sorted(position for part in parts for position in part) == list(range(1, 31))
    trials = opened(database, "trials=30")
    assert states(trials) == ["COMPLETE"] * 30
    assert len({trial.params["gamma0"] for trial in trials.all()}) == 30


def work(database: str, total: int) -> list[int]:
    """The positions of the trials that one of several processes has of a study."""
    trials = opened(database, f"trials={total}")
    positions = []
    while (claim := trials.claim()) is not None:
        positions.append(claim.position)
        trials.finish(claim, [0.5])
    return positions


@contextmanager
def _without_rights() -> Iterator[None]:
    """Become nobody, if we are root, whom no permission keeps out; anyone else is somebody already."""
    if os.geteuid():
        yield
        return
    nobody = 65534
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)
