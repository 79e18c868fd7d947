"""What MLflow is told of a run while it is under way, and of one that has ended without a record."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.config import RunConfig
from bench.record.folder import RunFolder
from bench.study.sweep.runner import Runner
from bench.study.tracking import live_run, mlflow_tracker
from bench.study.tracking.budget import Budget
from bench.study.tracking.contract import Tracker, TrackingError
from bench.study.tracking.machine_load import MachineLoad
from tests.commands import await_that
from tests.records import record_of
from tests.test_tracking import DEAD, SEEDS, begun, client_of, locked, runs_in
from tests.tiny import config

NAME = "time/train_seconds"
LOAD = {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"}


@pytest.fixture(scope="module")
def uri(no_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for these tests."""
    return f"sqlite:///{shutil.copy(no_runs, tmp_path_factory.mktemp('live'))}"


@pytest.fixture
def point() -> RunConfig:
    """A point that no other test of the database has."""
    return config(seed=next(SEEDS))


@pytest.fixture
def folder(point: RunConfig, tmp_path: Path) -> RunFolder:
    """The folder of its run, which has begun."""
    folder = RunFolder(tmp_path / "runs" / point.hash())
    folder.clear()
    folder.begin(point.resolved())
    folder.append({"event": "started", "steps": 30, "epochs": 3})
    return folder


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow is told whenever a test has it looked, and never by itself."""
    monkeypatch.setattr(mlflow_tracker, "LOOK_SECONDS", 1e6)
    monkeypatch.setattr(live_run, "SHARE", 1e9)
    monkeypatch.setattr(live_run, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(live_run, "AWAY_SECONDS", 0.0)


def train(folder: RunFolder, point: RunConfig, epochs: int, delay: float = 0.0) -> None:
    """Have the run say that it has come through so many epochs, from the first one on, and so many seconds late."""
    for epoch in record_of(point, accuracies=[0.5] * epochs)["epochs"]:
        folder.append({"event": "epoch", "time": 1000.0 + delay + epoch["epoch"], **epoch})


def finish(folder: RunFolder, point: RunConfig) -> None:
    """Have the run end with three epochs."""
    folder.append({"event": "finished", "status": "done"})
    folder.write_record(record_of(point, accuracies=[0.5] * 3))


def history(uri: str, run: Any) -> list[tuple[int, int]]:
    """The step and the time of each point of a metric that every epoch has."""
    return [(each.step, each.timestamp) for each in client_of(uri).get_metric_history(run.info.run_id, NAME)]


def runs_of(uri: str, point: RunConfig) -> list[Any]:
    """The runs of a point in MLflow, oldest first."""
    return runs_in(uri, f"tags.config_hash = '{point.hash()}'")[::-1]


def statuses(uri: str, point: RunConfig) -> list[str]:
    return [run.info.status for run in runs_of(uri, point)]


# ----------------------------------------------------------------------------------------------------------- the budget
class Clock:
    """Tells the seconds that a test has set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def first_due(budget: Budget, clock: Clock) -> float:
    """The first of the seconds from now on in which it is due."""
    while not budget.is_due():
        clock.now += 1.0
    return clock.now


def spend(budget: Budget, clock: Clock, seconds: float) -> None:
    with budget.spending():
        clock.now += seconds


def fail(budget: Budget, clock: Clock) -> None:
    """Wait for ten seconds, and for nothing."""
    with budget.spending():
        clock.now += 10.0
        raise OSError("gone")


def test_all_that_is_spent_stays_within_the_share() -> None:
    """A 64th, worked by hand: 1/16 s are expected, which 4 s allow; it takes 1/4 s. The next time, with 1/4 s again,
    there is 1/2 s in all, which 32 s allow; it takes 1/32 s, and one more would make 5/16 s, which 20 s allow."""
    clock = Clock()
    budget = Budget(share=1 / 64, least=3.0, patience=60.0, expected=1 / 16, clock=clock)
    assert first_due(budget, clock) == 104.0
    spend(budget, clock, 1 / 4)
    clock.now = 106.0
    assert first_due(budget, clock) == 132.0
    spend(budget, clock, 1 / 32)
    assert not budget.is_due()
    clock.now = 135.0
    assert not budget.is_due()
    clock.now = 135.0 + 1 / 32
    assert budget.is_due()


def test_what_takes_nothing_waits_all_the_same() -> None:
    clock = Clock()
    budget = Budget(share=0.01, least=3.0, patience=60.0, expected=0.0, clock=clock)
    assert first_due(budget, clock) == 103.0
    spend(budget, clock, 0.0)
    assert first_due(budget, clock) == 106.0


def test_what_fails_is_tried_again_later_and_is_not_counted() -> None:
    """To wait for ten seconds for whom is not there costs a run nothing; a thousand would have to pass otherwise."""
    clock = Clock()
    budget = Budget(share=0.01, least=3.0, patience=60.0, expected=0.01, clock=clock)
    clock.now = 200.0
    with pytest.raises(OSError, match="gone"):
        fail(budget, clock)
    assert first_due(budget, clock) == 270.0


# ------------------------------------------------------------------------------------------------------ while it trains
@pytest.mark.usefixtures("at_once")
def test_epochs_are_told_as_they_come_and_once(
    uri: str, no_runs: Path, point: RunConfig, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run has the same history in the end as one that was delivered as a whole, and what its machine did beside."""
    monkeypatch.setattr(live_run, "LOAD_SECONDS", 0.0)
    opened = begun(uri, point)
    opened.start(point, folder)
    assert opened._look()
    train(folder, point, 2)
    assert opened._look()
    (run,) = runs_of(uri, point)
    assert run.info.status == "RUNNING"
    assert history(uri, run) == [(10, 1_000_000), (20, 1_001_000)]
    assert run.data.metrics["accuracy/test"] == 0.5
    assert set(run.data.metrics) >= LOAD
    (load,) = client_of(uri).get_metric_history(run.info.run_id, min(LOAD))
    assert load.step == 20
    assert opened._look()
    train(folder, point, 3)
    finish(folder, point)
    assert opened.deliver(folder)
    assert not opened._look()
    (run,) = runs_of(uri, point)
    assert run.info.status == "FINISHED"
    assert history(uri, run) == [(10, 1_000_000), (20, 1_001_000), (30, 1_002_000)]
    whole = f"sqlite:///{shutil.copy(no_runs, folder.path.parent / 'whole.db')}"
    assert begun(whole, point).deliver(folder)
    (expected,) = runs_of(whole, point)
    assert set(run.data.metrics) - {name for name in run.data.metrics if name.startswith("system/")} == set(
        expected.data.metrics
    )
    for name in expected.data.metrics:
        told, asked = (
            [(each.step, each.timestamp, each.value) for each in client_of(place).get_metric_history(run_id, name)]
            for place, run_id in ((uri, run.info.run_id), (whole, expected.info.run_id))
        )
        assert told == asked, name


def test_a_thread_tells_it_while_this_one_is_busy(
    uri: str, point: RunConfig, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_tracker, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(live_run, "SHARE", 1e9)
    monkeypatch.setattr(live_run, "LEAST_SECONDS", 0.0)
    opened = begun(uri, point)
    opened.start(point, folder)
    train(folder, point, 2)
    await_that(lambda: len(history(uri, runs_of(uri, point)[0])) == 2, lambda: "MLflow is not told")
    opened.fail(point, "over", "failed")
    await_that(lambda: not opened._watch.is_on, lambda: "it goes on looking")


def test_a_short_run_is_told_of_at_its_end_alone(
    uri: str, point: RunConfig, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One word takes more than half a percent of it."""
    monkeypatch.setattr(mlflow_tracker, "LOOK_SECONDS", 1e6)
    monkeypatch.setattr(live_run, "SHARE", 0.0)
    opened = begun(uri, point)
    opened.start(point, folder)
    train(folder, point, 3)
    assert opened._look()
    assert history(uri, runs_of(uri, point)[0]) == []
    finish(folder, point)
    assert opened.deliver(folder)
    assert len(history(uri, runs_of(uri, point)[0])) == 3


@pytest.mark.usefixtures("at_once")
def test_the_timeline_is_there_as_soon_as_the_run_has_one(uri: str, point: RunConfig, folder: RunFolder) -> None:
    opened = begun(uri, point)
    opened.start(point, folder)
    (run,) = runs_of(uri, point)
    shown = []
    for content in (None, "{}", "{}"):
        if content is not None:
            folder.timeline.write_text(content)
        assert opened._look()
        shown.append([artifact.path for artifact in client_of(uri).list_artifacts(run.info.run_id)])
    assert shown == [[], ["timeline.json"], ["timeline.json"]]
    opened.fail(point, "over", "failed")


@pytest.mark.usefixtures("at_once")
def test_what_another_machine_does_is_not_told(
    uri: str, point: RunConfig, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run trains on a cluster's node, and this process waits."""
    monkeypatch.setattr(live_run, "LOAD_SECONDS", 0.0)
    folder.append({"event": "begun", "config": point.resolved(), "process": "7:8@node/boot/1"})
    train(folder, point, 1)
    opened = begun(uri, point)
    opened.start(point, folder)
    for _ in range(3):
        assert opened._look()
    (run,) = runs_of(uri, point)
    assert NAME in run.data.metrics
    assert not [name for name in run.data.metrics if name.startswith("system/")]
    opened.fail(point, "over", "failed")


def test_a_machine_is_looked_at_by_mlflows_own_names() -> None:
    load = MachineLoad()
    assert load.look() == {}
    found = load.look()
    assert set(found) >= LOAD
    assert found["system/system_memory_usage_megabytes"] > 0


@pytest.mark.usefixtures("at_once")
def test_a_database_that_is_away_costs_nothing_but_the_wait(
    uri: str, point: RunConfig, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it missed is told when it is back; nobody is asked meanwhile."""
    monkeypatch.setattr("bench.study.tracking.store.LOCK_SECONDS", 0.05)
    opened = begun(uri, point)
    opened.start(point, folder)
    train(folder, point, 1)
    with locked(uri):
        assert opened._look()
    assert history(uri, runs_of(uri, point)[0]) == []
    train(folder, point, 2)
    assert opened._look()
    assert len(history(uri, runs_of(uri, point)[0])) == 2
    opened.fail(point, "over", "failed")


# ------------------------------------------------------------------------------------------------------------ once more
@pytest.mark.usefixtures("at_once")
def test_a_run_that_went_on_from_a_checkpoint_has_every_epoch_once(
    uri: str, point: RunConfig, folder: RunFolder
) -> None:
    """MLflow has two epochs; the checkpoint was behind the first. What cannot be taken back stays in a run that is
    killed, and another one has it all."""
    opened = begun(uri, point)
    opened.start(point, folder)
    train(folder, point, 2)
    opened._look()
    folder.append({"event": "resumed", "step": 10})
    opened._look()
    assert statuses(uri, point) == ["RUNNING"]
    last = record_of(point, accuracies=[0.5] * 3)["epochs"][1:]
    for epoch in last:
        folder.append({"event": "epoch", "time": 2000.0 + epoch["epoch"], **epoch})
        opened._look()
    assert statuses(uri, point) == ["KILLED", "RUNNING"]
    finish(folder, point)
    assert opened.deliver(folder)
    killed, run = runs_of(uri, point)
    assert (killed.info.status, run.info.status) == ("KILLED", "FINISHED")
    assert "checkpoint" in killed.data.tags["error"]
    assert history(uri, run) == [(10, 1_000_000), (20, 2_001_000), (30, 2_002_000)]


@pytest.mark.usefixtures("at_once")
def test_a_run_that_lost_nothing_goes_on_in_its_place(uri: str, point: RunConfig, folder: RunFolder) -> None:
    """Its process was killed, and the checkpoint was behind all that MLflow has."""
    first = begun(uri, point)
    first.start(point, folder)
    train(folder, point, 2)
    first._look()
    (run,) = runs_of(uri, point)
    client_of(uri).set_tag(run.info.run_id, "process", DEAD)
    again = begun(uri, point)
    assert statuses(uri, point) == ["KILLED"]
    folder.append({"event": "resumed", "step": 20})
    again.start(point, folder)
    assert statuses(uri, point) == ["RUNNING"]
    train(folder, point, 3)
    finish(folder, point)
    assert again.deliver(folder)
    (run,) = runs_of(uri, point)
    assert (run.info.status, len(history(uri, run))) == ("FINISHED", 3)


@pytest.mark.usefixtures("at_once")
def test_a_run_that_begins_anew_is_another(uri: str, point: RunConfig, folder: RunFolder) -> None:
    """What MLflow has of the one that failed stays as it was."""
    opened = begun(uri, point)
    opened.start(point, folder)
    train(folder, point, 2)
    opened._look()
    opened.fail(point, "rank 1: out of memory", "failed")
    folder.clear()
    folder.begin(point.resolved())
    opened.start(point, folder)
    train(folder, point, 3, delay=500.0)
    finish(folder, point)
    assert opened.deliver(folder)
    failed, run = runs_of(uri, point)
    assert (failed.info.status, run.info.status) == ("FAILED", "FINISHED")
    assert history(uri, failed) == [(10, 1_000_000), (20, 1_001_000)]
    assert history(uri, run) == [(10, 1_500_000), (20, 1_501_000), (30, 1_502_000)]


# ----------------------------------------------------------------------------------------------------- without a record
def synced(uri: str, folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> str:
    """What ``sync`` says of the folder of runs."""
    assert main(["sync", f"runs_dir={folder.path.parent}", f"tracking.uri={uri}"]) == 0
    return capsys.readouterr().out


def fail_of_itself(folder: RunFolder) -> None:
    folder.write_failure("rank 1 failed:\nTraceback\nRuntimeError: no memory", "failed")


def be_pruned(folder: RunFolder) -> None:
    folder.write_failure("pruned after epoch 2 of 3", "pruned")


def be_killed(folder: RunFolder) -> None:
    """Nothing is left but the events, the last one cut short."""
    with folder.events_file.open("a") as file:
        file.write('{"event": "epo')


@pytest.mark.parametrize(
    ("end", "status", "word", "why"),
    [
        (fail_of_itself, "FAILED", "failed", "rank 1 failed:\nTraceback\nRuntimeError: no memory"),
        (be_pruned, "KILLED", "pruned", "pruned after epoch 2 of 3"),
        (be_killed, "KILLED", "killed", "killed by force: it has left no word of how it ended"),
    ],
)
def test_what_mlflow_missed_of_a_failure_is_delivered_once(
    end: Callable[[RunFolder], None],
    status: str,
    word: str,
    why: str,
    uri: str,
    point: RunConfig,
    folder: RunFolder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(folder, point, 2)
    end(folder)
    assert synced(uri, folder, capsys) == "delivered 1 runs; 0 were there already\n"
    assert synced(uri, folder, capsys) == "delivered 0 runs; 1 were there already\n"
    (run,) = runs_of(uri, point)
    assert (run.info.status, run.data.tags["status"], run.data.tags["error"]) == (status, word, why)
    assert run.data.params["batch_size"] == str(point.batch_size)
    assert history(uri, run) == [(10, 1_000_000), (20, 1_001_000)]
    names = {artifact.path for artifact in client_of(uri).list_artifacts(run.info.run_id)}
    assert names == {"events.jsonl"} | ({"failure.json"} if folder.failure.exists() else set())


def test_a_failure_that_was_told_is_not_delivered_again(
    uri: str, point: RunConfig, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = begun(uri, point)
    opened.start(point, folder)
    train(folder, point, 2)
    folder.write_failure("out of memory", "failed")
    opened.fail(point, "out of memory", "failed")
    assert synced(uri, folder, capsys) == "delivered 0 runs; 1 were there already\n"
    (run,) = runs_of(uri, point)
    assert (run.info.status, len(history(uri, run))) == ("FAILED", 2)


def test_a_run_that_is_under_way_is_not_delivered(
    uri: str, point: RunConfig, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its lock is held; nor is one delivered of which the log does not say what it is."""
    older = RunFolder(folder.path.with_name("older"))
    older.clear()
    older.append({"event": "started", "steps": 30, "epochs": 3})
    with folder.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert synced(uri, folder, capsys) == "delivered 0 runs; 0 were there already\n"
    assert runs_of(uri, point) == []


@pytest.mark.usefixtures("at_once")
def test_a_run_whose_process_was_killed_is_taken_up_by_sync(
    uri: str, point: RunConfig, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was RUNNING in MLflow, with one epoch, and has two."""
    opened = begun(uri, point)
    opened.start(point, folder)
    train(folder, point, 1)
    opened._look()
    (run,) = runs_of(uri, point)
    client_of(uri).set_tag(run.info.run_id, "process", DEAD)
    epoch = record_of(point, accuracies=[0.5] * 2)["epochs"][1]
    folder.append({"event": "epoch", "time": 1001.0, **epoch})
    assert synced(uri, folder, capsys) == "delivered 1 runs; 0 were there already\n"
    (again,) = runs_of(uri, point)
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "KILLED")
    assert history(uri, again) == [(10, 1_000_000), (20, 1_001_000)]


class Gone(Tracker):
    """Takes no word of a failure."""

    def fail(self, *_: object) -> None:
        raise TrackingError("gone", outage=1)


def test_what_was_not_told_of_a_failure_is_counted(
    point: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = Runner(Gone())
    runner.fail(point, "out of memory")
    runner.print_failures(str(tmp_path))
    assert "not in MLflow: 1 of the runs; " in capsys.readouterr().err
