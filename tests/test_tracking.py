"""The mirror in MLflow, read back with MLflow's own client from real databases."""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from bench.__main__ import main
from bench.config import RunConfig
from bench.keys import ConfigError
from bench.record.folder import RecordError, RunFolder, WithoutResult
from bench.record.runs_dir import Sweep
from bench.study.launcher.check import make_folder
from bench.study.sweep.compose import single
from bench.study.sweep.runner import Runner
from bench.study.tracking import mirror
from bench.study.tracking.contract import TrackingError
from bench.study.tracking.mlflow import MLflow
from bench.study.tracking.mlflow_tracker import MLflowTracker
from bench.study.tracking.none import NoTracking
from bench.study.tracking.store import silenced
from bench.system.process import BEAT_SECONDS, is_alive, is_here, machine, own_name
from tests.commands import TINY, await_that, read_json
from tests.records import record_of
from tests.tiny import config

EXPERIMENT = "staleness-bench"
NOWHERE = RunFolder(Path("nowhere", "at", "all"))
"""The folder of a run that has said nothing yet."""
DEAD = f"{2**22 + 1}@{machine()}"
"""The name of a process whose id is above the largest one that Linux gives."""
SEEDS = itertools.count()


@pytest.fixture(scope="module")
def uri(no_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for the tests that need no fresh one."""
    return f"sqlite:///{shutil.copy(no_runs, tmp_path_factory.mktemp('tracking'))}"


@pytest.fixture
def point() -> RunConfig:
    """A point that no other test has."""
    return config(seed=next(SEEDS))


@pytest.fixture
def folder(point: RunConfig, tmp_path: Path) -> RunFolder:
    return write_run(tmp_path, point)


def write_run(runs_dir: Path, point: RunConfig, **changes: Any) -> RunFolder:
    """What a run of two epochs leaves."""
    folder = RunFolder(runs_dir / point.hash())
    folder.clear()
    folder.append({"event": "started", "time": 1000.0, "steps": 44, "epochs": 2})
    epochs = []
    for epoch, loss in ((0, 1.5), (1, None)):
        numbers = {"loss/train": loss, "accuracy/test": 0.5 + epoch / 10, "lr": 0.1}
        epochs.append({"epoch": epoch, "step": 22 * (epoch + 1), "time/train_seconds": 2.0 * (epoch + 1), **numbers})
        folder.append({"event": "epoch", "time": 1010.0 + epoch, **epochs[-1]})
    folder.timeline.write_text("{}")
    folder.picture.write_bytes(b"PNG")
    folder.model.write_bytes(b"weights")
    folder.write_record(_record(point, **{"epochs": epochs, **changes}))
    return folder


def _record(point: RunConfig, **changes: Any) -> dict[str, Any]:
    record = record_of(point, 540.0, [0.5, 0.6], {"torch": "2.14.0"})
    record["metrics"] |= {"loss/train": None}
    return {**record, "data": {**record["data"], "digest": "0123456789abcdef" * 2}, **changes}


def client_of(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def runs_in(uri: str, query: str = "") -> list[Any]:
    # The first question of a process has MLflow's store use what SQLAlchemy deprecates; an error there stays for ever.
    with silenced():
        client = client_of(uri)
        return list(client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id], query))


def begun(uri: str, *points: RunConfig) -> MLflowTracker:
    """A tracker of a sweep over the points; one is a single run."""
    opened = MLflowTracker(uri, EXPERIMENT)
    opened.begin(Sweep(("seed=1,2",), tuple(point.hash() for point in points)))
    return opened


def run_of(uri: str, point: RunConfig) -> Any:
    (run,) = runs_in(uri, f"tags.config_hash = '{point.hash()}'")
    return run


def test_a_started_run_is_running_with_its_parameters(uri: str) -> None:
    point = config(stages=2, staleness=2, model={"name": "mlp", "hidden": 8, "layers": 3})
    opened = begun(uri, point)
    opened.start(point, NOWHERE)
    run = run_of(uri, point)
    assert run.info.status == "RUNNING"
    assert run.info.run_name == "K2 S1 c2 seed0"
    assert run.data.params["model.hidden"] == "8"
    assert run.data.params["data.shape"] == "[3, 8, 8]"
    assert run.data.params["max_steps"] == "null"
    assert not {"runs_dir", "force", "tracking.name", "launcher.name", "dry_run"} & set(run.data.params)
    expected = {"method": "decoupled", "stages": "2", "replicas": "1", "staleness": "2", "weights": "stashed"}
    expected |= {"engine": "distributed", "seed": "0", "config_hash": point.hash(), "host": platform.node()}
    assert expected.items() <= run.data.tags.items()
    assert "mlflow.parentRunId" not in run.data.tags
    opened.fail(point, "over", "failed")


def test_a_delivered_run_has_the_history_of_its_metrics(uri: str, point: RunConfig, folder: RunFolder) -> None:
    opened = begun(uri, point)
    opened.start(point, NOWHERE)
    assert opened.deliver(folder)
    run = run_of(uri, point)
    history = client_of(uri).get_metric_history(run.info.run_id, "accuracy/test")
    assert [(entry.step, entry.value, entry.timestamp) for entry in history] == [
        (22, 0.5, 1010_000),
        (44, 0.6, 1011_000),
    ]
    losses = client_of(uri).get_metric_history(run.info.run_id, "loss/train")
    assert [(entry.step, str(entry.value)) for entry in losses] == [(22, "1.5"), (44, "nan")]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["throughput/images_per_second"] == 540
    assert run.data.metrics["time/train_seconds"] == 4
    assert not {"epoch", "step"} & set(run.data.metrics)
    assert run.data.tags["status"] == "done"
    assert run.data.tags["environment.torch"] == "2.14.0"
    assert run.data.tags["environment.oversubscribed"] == "false"


WRITTEN = 1767225660
"""The second at which the record of :func:`_record` says that the run finished."""


@pytest.mark.parametrize("speed", [100.0, 540.0, 900.0])
@pytest.mark.parametrize("time", [WRITTEN - 5, WRITTEN + 0.7, WRITTEN + 9000])
@pytest.mark.parametrize("accuracy", [0.6, 0.4, None])
def test_mlflow_shows_what_the_record_holds(
    uri: str, point: RunConfig, tmp_path: Path, speed: float, time: float, accuracy: float | None
) -> None:
    """It does, whatever the last epoch had, and whenever its word was written: a record's time is cut to seconds."""
    folder = RunFolder(tmp_path / point.hash())
    names = {"throughput/images_per_second": speed, "accuracy/test": 0.6, "loss/train": 0.2, "time/train_seconds": 2.0}
    folder.clear()
    folder.append({"event": "epoch", "time": time, "epoch": 0, "step": 22, **names})
    metrics = {**_record(point)["metrics"], **names, "throughput/images_per_second": 540.0, "accuracy/test": accuracy}
    metrics |= {"lr/cap": None, "lr/max": 0.1, "lr/margin": 9.0}
    epoch = {"epoch": 0, "step": 22, **names, "lr/margin": 0.7, "lr/curvature": 40.0}
    folder.write_record(_record(point, metrics=metrics, epochs=[epoch]))
    begun(uri, point).deliver(folder)
    shown = run_of(uri, point).data.metrics
    assert shown.pop("epoch/units_per_second") == speed
    assert (shown.pop("epoch/margin"), shown.pop("lr/curvature")) == (0.7, 40.0)
    expected = {key: math.nan if value is None else value for key, value in metrics.items() if key != "lr/cap"}
    assert shown == pytest.approx(expected, abs=0, rel=0, nan_ok=True)


def test_mlflow_shows_what_a_real_runs_record_holds(tmp_path: Path) -> None:
    """Each number of it under its name, and beside these only what an epoch has of its own."""
    uri, runs_dir = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "runs"
    words = ["engine=reference", "tracking=mlflow", f"tracking.uri={uri}", f"runs_dir={runs_dir}"]
    assert main([*(word for word in TINY if word != "tracking=none"), *words]) == 0
    (run,) = runs_in(uri)
    record = read_json(runs_dir / run.data.tags["config_hash"] / "record.json")
    assert {
        key: value for key, value in record["metrics"].items() if value is not None
    }.items() <= run.data.metrics.items()
    assert set(run.data.metrics) - set(record["metrics"]) == {"epoch/units_per_second", "lr"}
    assert len(client_of(uri).get_metric_history(run.info.run_id, "epoch/units_per_second")) == 2


def test_a_delivered_run_has_its_files_and_its_data(uri: str, point: RunConfig, folder: RunFolder) -> None:
    begun(uri, point).deliver(folder)
    run = run_of(uri, point)
    names = sorted(artifact.path for artifact in client_of(uri).list_artifacts(run.info.run_id))
    assert names == ["events.jsonl", "model.pt", "record.json", "timeline.json", "timeline.png"]
    artifacts = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts"
    (record,) = artifacts.glob(f"{run.info.run_id}/artifacts/record.json")
    assert record.read_bytes() == folder.record.read_bytes()
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("synthetic", "0123456789abcdef" * 2)
    assert json.loads(data.dataset.profile) == {"train_images": 96, "test_images": 1000}
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]


def test_a_run_is_delivered_once(uri: str, point: RunConfig, folder: RunFolder) -> None:
    """It is by the process that did it, by another that began before it was done, and by one that began after."""
    first, second = begun(uri, point), begun(uri, point)
    assert first.deliver(folder)
    assert [first.deliver(folder), second.deliver(folder), begun(uri, point).deliver(folder)] == [False] * 3
    assert len(client_of(uri).get_metric_history(run_of(uri, point).info.run_id, "accuracy/test")) == 2


@pytest.mark.parametrize("tagged", [False, True])
def test_a_delivery_that_was_killed_is_taken_up_again(
    tagged: bool, uri: str, point: RunConfig, folder: RunFolder
) -> None:
    """All was sent but the word that it is all, or but the end: such a run once stayed KILLED with its whole result."""
    opened = begun(uri, point)
    opened.deliver(folder)
    run_id = run_of(uri, point).info.run_id
    client = client_of(uri)
    client.update_run(run_id, status="RUNNING")
    if not tagged:
        client.delete_tag(run_id, "record")
    client.set_tag(run_id, "process", DEAD)
    again = begun(uri, point)
    assert client.get_run(run_id).info.status == "KILLED"
    assert again.deliver(folder)
    run = run_of(uri, point)
    assert (run.info.run_id, run.info.status) == (run_id, "FINISHED")
    assert len(client.get_metric_history(run_id, "accuracy/test")) == 2
    assert len(run.inputs.dataset_inputs) == 1


def test_a_run_that_was_made_again_is_another(uri: str, point: RunConfig, folder: RunFolder) -> None:
    """``force=true``: the first result stays to be compared with."""
    begun(uri, point).deliver(folder)
    folder.write_record(_record(point, status="diverged"))
    opened = begun(uri, point)
    opened.start(point, NOWHERE)
    assert opened.deliver(folder)
    runs = runs_in(uri, f"tags.config_hash = '{point.hash()}'")
    assert [(run.info.status, run.data.tags["status"]) for run in runs] == [
        ("FINISHED", "diverged"),
        ("FINISHED", "done"),
    ]


def test_a_sweep_is_a_parent_with_its_points(uri: str, tmp_path: Path) -> None:
    points = [config(seed=next(SEEDS)) for _ in range(3)]
    opened = begun(uri, *points)
    opened.start(points[0], NOWHERE)
    opened.start(points[1], NOWHERE)
    assert opened.deliver(write_run(tmp_path, points[0]))
    opened.fail(points[1], "rank 1: out of memory", "failed")
    assert opened.deliver(write_run(tmp_path, points[2], status="diverged"))
    opened.end("| K |", failed=1)
    name = Sweep((), tuple(point.hash() for point in points)).name
    (parent,) = runs_in(uri, f"tags.sweep = '{name}'")
    assert parent.info.status == "FAILED"
    counts = {"points/done": 1, "points/diverged": 1, "points/failed": 1}
    best = {"accuracy/test_best": 0.6, "throughput/units_per_second_best": 540}
    mean = {"accuracy/test_mean": 0.6, "throughput/units_per_second_mean": 540}
    assert parent.data.metrics == counts | best | mean
    assert parent.data.tags["overrides"] == "seed=1,2"
    assert client_of(uri).download_artifacts(parent.info.run_id, "table.md", str(tmp_path))
    assert (tmp_path / "table.md").read_text() == "| K |"
    children = [run_of(uri, point) for point in points]
    assert [run.info.status for run in children] == ["FINISHED", "FAILED", "FINISHED"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    again = begun(uri, *reversed(points))
    again.start(points[1], NOWHERE)
    assert again.deliver(write_run(tmp_path, points[1]))
    again.end("", failed=0)
    (parent,) = runs_in(uri, f"tags.sweep = '{name}'")
    assert parent.info.status == "FINISHED"
    finished = run_of(uri, points[1])
    assert finished.info.run_id == children[1].info.run_id
    assert "error" not in finished.data.tags


def test_the_parent_is_ended_by_whoever_opened_it(uri: str, tmp_path: Path) -> None:
    """Two sweeps are at it at once; this process is alive, so to the other one its parent is not free."""
    points = [config(seed=next(SEEDS)) for _ in range(2)]
    first = begun(uri, *points)
    first.start(points[0], NOWHERE)
    name = Sweep((), tuple(point.hash() for point in points)).name
    (parent,) = runs_in(uri, f"tags.sweep = '{name}'")
    client_of(uri).set_tag(parent.info.run_id, "process", f"{os.getppid()}@{machine()}")
    second = begun(uri, *points)
    second.deliver(write_run(tmp_path, points[1]))
    second.end("", failed=0)
    (parent,) = runs_in(uri, f"tags.sweep = '{name}'")
    assert parent.info.status == "RUNNING"
    first.interrupt()
    (parent,) = runs_in(uri, f"tags.sweep = '{name}'")
    assert parent.info.status == "KILLED"
    first.fail(points[0], "over", "failed")


def test_more_metrics_than_a_call_takes_are_all_there(uri: str, point: RunConfig, tmp_path: Path) -> None:
    epochs = record_of(point, accuracies=[0.6] * 501)["epochs"]
    begun(uri, point).deliver(write_run(tmp_path, point, epochs=epochs))
    assert len(client_of(uri).get_metric_history(run_of(uri, point).info.run_id, "loss/test")) == 501


@pytest.mark.parametrize(("word", "status"), [("failed", "FAILED"), ("killed", "KILLED"), ("pruned", "KILLED")])
def test_a_failure_is_told(uri: str, point: RunConfig, word: WithoutResult, status: str) -> None:
    opened = begun(uri, point)
    opened.start(point, NOWHERE)
    opened.fail(point, "rank 1: out of memory" + "." * 9000, word)
    run = run_of(uri, point)
    assert run.info.status == status
    assert run.data.tags["error"].startswith("rank 1: out of memory")


def test_a_run_that_never_began_here_is_not_failed(uri: str, point: RunConfig, folder: RunFolder) -> None:
    """Another process may be at it; and what has its record has no failure."""
    opened = begun(uri, point)
    opened.fail(point, "interrupted", "killed")
    assert runs_in(uri, f"tags.config_hash = '{point.hash()}'") == []
    opened.start(point, folder)
    assert opened.deliver(folder)
    opened.fail(point, "pruned too late", "pruned")
    assert run_of(uri, point).info.status == "FINISHED"


def test_a_run_without_a_record_cannot_be_delivered(uri: str, point: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"record\.json"):
        begun(uri, point).deliver(RunFolder(tmp_path))


def test_what_a_dead_process_left_running_is_ended(uri: str) -> None:
    """A process whose id came again after a power cut is dead, too."""
    left, alive, reused = points = [config(seed=next(SEEDS)) for _ in range(3)]
    opened = begun(uri, *points)
    for point in points:
        opened.start(point, NOWHERE)
    client = client_of(uri)
    client.set_tag(run_of(uri, left).info.run_id, "process", DEAD)
    client.set_tag(run_of(uri, reused).info.run_id, "process", f"{os.getpid()}:1@{machine()}")
    begun(uri)
    assert [run_of(uri, point).info.status for point in points] == ["KILLED", "RUNNING", "KILLED"]
    opened.fail(alive, "over", "failed")
    opened.interrupt()


def test_a_process_is_known_by_its_name() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        name = f"{process.pid}@{machine()}"
        assert is_alive(name, "")
        process.kill()
    assert is_alive(own_name(), "")
    assert is_here(str(os.getpid()))
    beat = str(int(time.time()))
    assert not is_alive(name, beat)
    assert not is_alive("", "")
    assert not is_alive(f"{10**30}@{machine()}", beat)


@pytest.mark.parametrize("where", ["other/boot/1", machine().replace("/", "/0", 1), ""])
def test_a_process_of_another_machine_lives_while_its_heart_beats(where: str) -> None:
    """The same host before it was started anew is another one; and so is a machine that the name tells nothing of."""
    now = int(time.time())
    for name in (f"{os.getpid()}@{where}", f"{2**22 + 1}@{where}"):
        assert is_alive(name, str(now))
        assert is_alive(name, str(now - 3 * round(BEAT_SECONDS)))
        assert not is_alive(name, str(now - 6 * round(BEAT_SECONDS)))
        assert not is_alive(name, "")
        assert not is_alive(name, "now")


def test_two_machines_at_one_sweep_have_each_its_runs(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is taken for dead by the other, and no run has the points of both."""
    points = [config(seed=next(SEEDS)) for _ in range(2)]
    first = begun(uri, *points)
    first.start(points[0], NOWHERE)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("bench.system.process.machine", lambda: "other/boot/1")
        second = begun(uri, *points)
        second.start(points[0], NOWHERE)
        assert second.deliver(write_run(tmp_path / "second", points[0], finished="2026-01-01T00:02:00+00:00"))
        second.end("", failed=0)
    assert first.deliver(write_run(tmp_path / "first", points[0]))
    runs = runs_in(uri, f"tags.config_hash = '{points[0].hash()}'")
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    for run in runs:
        assert len(client_of(uri).get_metric_history(run.info.run_id, "time/train_seconds")) == 2
    assert {run.data.tags["process"].partition("@")[2] for run in runs} == {machine(), "other/boot/1"}
    (parent,) = runs_in(uri, f"tags.sweep = '{Sweep((), tuple(point.hash() for point in points)).name}'")
    assert parent.info.status == "RUNNING"
    first.end("", failed=0)


def test_what_another_machine_left_running_is_ended_when_its_heart_has_stopped(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has no name of a process is not ours."""
    alive, dead = points = [config(seed=next(SEEDS)) for _ in range(2)]
    opened = begun(uri)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("bench.system.process.machine", lambda: "other/boot/1")
        for point in points:
            opened.start(point, NOWHERE)
    client = client_of(uri)
    client.set_tag(run_of(uri, dead).info.run_id, "heartbeat", "1000000000")
    theirs = client.create_run(client.get_experiment_by_name(EXPERIMENT).experiment_id).info.run_id
    begun(uri)
    assert [run_of(uri, point).info.status for point in points] == ["RUNNING", "KILLED"]
    assert client.get_run(theirs).info.status == "RUNNING"
    for run_id in (theirs, run_of(uri, alive).info.run_id):
        client.set_terminated(run_id)


def _has_beaten(client: Any, run_id: str) -> bool:
    return bool(int(client.get_run(run_id).data.tags["heartbeat"]))


def test_the_heart_beats_while_anything_runs(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heart beats of a sweep's own run too; it stops at the end, and starts again."""
    monkeypatch.setattr("bench.system.process.BEAT_SECONDS", 0.01)
    points = [config(seed=next(SEEDS)) for _ in range(2)]
    opened, client = begun(uri, *points), client_of(uri)
    for point in points:
        opened.start(point, NOWHERE)
        running = [run_of(uri, point).info.run_id, run_of(uri, point).data.tags["mlflow.parentRunId"]]
        for run_id in running:
            client.set_tag(run_id, "heartbeat", "0")
            await_that(partial(_has_beaten, client, run_id), lambda: "no heartbeat")
        opened.fail(point, "over", "failed")
    opened.end("", failed=2)
    await_that(lambda: not opened._heartbeat.is_on, lambda: "the heart goes on beating")


def test_a_mirror_that_breaks_says_so(uri: str, point: RunConfig, folder: RunFolder) -> None:
    opened = begun(uri, point)
    opened.start(point, NOWHERE)
    client_of(uri).delete_run(run_of(uri, point).info.run_id)
    with pytest.raises(TrackingError, match=r"tracking\.uri="):
        opened.deliver(folder)


def test_of_an_outage_one_line_tells(
    uri: str, point: RunConfig, folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another program locks the database, lets go of it, and locks it again."""
    monkeypatch.setattr("bench.study.tracking.store.LOCK_SECONDS", 0.05)
    opened = begun(uri, point)
    runner = Runner(opened)
    for _ in range(2):
        with locked(uri):
            with pytest.raises(TrackingError):
                opened.start(point, NOWHERE)
            assert not any(runner.tell(lambda: opened.deliver(folder)) for _ in range(3))
        (said,) = capsys.readouterr().err.splitlines()
        assert said == f"MLflow is away, training goes on: tracking.uri='{uri}': database is locked"
        assert runner.tell(lambda: opened.start(point, NOWHERE))
    assert runner.tell(lambda: opened.deliver(folder))
    assert capsys.readouterr().err == ""


@contextmanager
def locked(uri: str) -> Iterator[None]:
    """Another program is at the database."""
    other = sqlite3.connect(uri.removeprefix("sqlite:///"))
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.close()


def test_a_full_disk_is_one_line(
    uri: str, point: RunConfig, folder: RunFolder, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """SQLite says so itself, here of a database that may not grow; MLflow would log a screenful of SQL beside."""
    database = shutil.copy(uri.removeprefix("sqlite:///"), tmp_path / "full.db")
    with full_disk():
        opened = begun(f"sqlite:///{database}", point)
        assert not Runner(opened).tell(lambda: opened.deliver(write_long(folder, point)))
    (said,) = capfd.readouterr().err.splitlines()
    reason = "database or disk is full"
    assert said == f"MLflow is away, training goes on: tracking.uri='sqlite:///{database}': {reason}"


def write_long(folder: RunFolder, point: RunConfig) -> RunFolder:
    """A record that takes more pages than a database has free."""
    folder.write_record(_record(point, epochs=record_of(point, accuracies=[0.6] * 900)["epochs"]))
    return folder


@contextmanager
def full_disk() -> Iterator[None]:
    """No database that is opened meanwhile may grow."""

    def hold(connection: Any, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", hold)
    try:
        yield
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "connect", hold)


def test_what_a_record_holds_is_delivered_without_its_log(
    uri: str, point: RunConfig, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line of it is torn. A record that cannot be read makes ``sync`` fail, and leaves no run in MLflow."""
    lines = folder.events_file.read_bytes().splitlines(keepends=True)
    folder.events_file.write_bytes(b"".join([*lines[:1], b'{"event": "epo\xff\n', *lines[1:]]))
    broken = config(seed=next(SEEDS))
    write_run(folder.path.parent, broken).record.write_text("{")
    assert main(["sync", f"runs_dir={folder.path.parent}", f"tracking.uri={uri}"]) == 1
    assert capsys.readouterr().out == "delivered 1 runs; 0 were there already; 1 cannot be read\n"
    run = run_of(uri, point)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["accuracy/test"] == 0.6
    assert runs_in(uri, f"tags.config_hash = '{broken.hash()}'") == []


def test_a_deleted_experiment_is_a_wrong_configuration(uri: str) -> None:
    client = client_of(uri)
    client.delete_experiment(client.create_experiment("old"))
    with pytest.raises(ConfigError, match=r"tracking\.experiment='old': it was deleted"):
        MLflowTracker(uri, "old").begin(Sweep((), ()))


@pytest.mark.parametrize(
    "wrong",
    [
        "http://127.0.0.1:9",
        "mlruns",
        "file:///tmp/mlruns",
        "ftp://host",
        "sqlite:////proc/no/mlflow.db",
        "sqlite:///{}",
    ],
)
def test_a_wrong_uri_is_told_at_once(wrong: str, tmp_path: Path, pauses: list[float]) -> None:
    no_database = tmp_path / "no_database"
    no_database.write_text("this is no database" * 100)
    with pytest.raises(ConfigError, match=r"^tracking\.uri='.*': allowed are sqlite:///<file>, .* or tracking=none"):
        MLflowTracker(wrong.format(no_database), EXPERIMENT).begin(Sweep((), ()))
    assert sum(pauses) < 15


PATHS = "must be a path of this machine, not a URL"
PLACES = [
    *(([f"runs_dir={url}"], f"runs_dir='{url}': {PATHS}") for url in ("s3://bucket/runs", "postgresql://host/name")),
    (["data=cifar10", "data.folder=http://host/data"], f"data.folder='http://host/data': {PATHS}"),
    (["data=imagefolder", "data.folder=s3://data"], f"data.folder='s3://data': {PATHS}"),
    (["data", "--output", "s3://bucket/a"], "--output='s3://bucket/a': must be a file of this machine, not a URL"),
]


@pytest.mark.parametrize(("words", "message"), PLACES)
def test_a_path_is_no_url(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder called ``s3:`` would be made here."""
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert capsys.readouterr().err == f"bench: {message}\n"
    with pytest.raises(ConfigError, match=r"^--results='s3://bucket': must be a folder of this machine, not a URL$"):
        make_folder("--results", "s3://bucket")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:mlflow.db",
        "sqlite:///file:mlflow.db?mode=memory&uri=true",
        "mlruns",
        "file:///tmp/mlruns",
        "ftp://me:geheim@host",
        "http://me:geheim@127.0.0.1:9",
        "postgresql://me:geheim@127.0.0.1:9/name",
        "mysql://me:geheim@127.0.0.1:9/name",
        "postgresql://me:geheim@127.0.0.1:port/name",
        "sqlite:////proc/no/mlflow.db",
        "sqlite:///no_database",
    ],
)
def test_a_wrong_uri_leaves_nothing(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The URI shows no password, either."""
    monkeypatch.chdir(tmp_path)
    Path("no_database").write_text("this is no database" * 100)
    assert main([*TINY[:-1], "engine=reference", f'tracking.uri="{wrong}"']) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("bench: tracking.uri='")
    assert "geheim" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["no_database"]


def test_mlflows_own_variables_hold_where_nothing_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is the same wherever it is mirrored to; nobody is shown a password."""
    plain = single([])
    assert plain.settings.tracking == MLflow("sqlite:///mlflow.db", EXPERIMENT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:geheim@127.0.0.1:5000")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    followed = single([])
    assert followed.settings.tracking == MLflow("http://me:geheim@127.0.0.1:5000", "mine")
    assert followed.config.hash() == plain.config.hash()
    assert followed.settings.values()["tracking"] == {
        "name": "mlflow",
        "uri": "http://me:***@127.0.0.1:5000",
        "experiment": "mine",
    }
    typed = single(["tracking.uri=sqlite:///other.db", "tracking.experiment=other"])
    assert typed.settings.tracking == MLflow("sqlite:///other.db", "other")


def test_what_a_sweep_remembers_has_no_passwords(tmp_path: Path) -> None:
    sweep = Sweep(("tracking.uri=http://me:geheim@host/", "tuning.database=mysql://me:ge@heim@host/a"), ("a", "b"))
    sweep.write(tmp_path)
    (file,) = tmp_path.rglob("*.json")
    assert read_json(file)["overrides"] == ["tracking.uri=http://me:***@host/", "tuning.database=mysql://me:***@host/a"]
    assert mirror.parent_tags(sweep)["overrides"] == " ".join(read_json(file)["overrides"])


def test_nothing_is_left_changed(uri: str, point: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    environment = dict(os.environ)
    level = logging.getLogger("alembic").level
    opened = begun(uri, point)
    opened.start(point, NOWHERE)
    opened.fail(point, "over", "failed")
    assert dict(os.environ) == environment
    assert logging.getLogger("alembic").level == level


def test_no_tracking_does_nothing(point: RunConfig, tmp_path: Path) -> None:
    silent = NoTracking().tracker()
    silent.begin(Sweep((), ()))
    silent.start(point, NOWHERE)
    assert not silent.deliver(RunFolder(tmp_path))
    silent.fail(point, "over", "killed")
    silent.end("", failed=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full
def test_two_processes_may_open_one_fresh_database(tmp_path: Path) -> None:
    """They follow the same sweep, which has one parent all the same."""
    code = (
        "import json, logging, sys, warnings\n"
        "from bench.config import parse\n"
        "from pathlib import Path\n"
        "from bench.record.folder import RunFolder\n"
        "from bench.record.runs_dir import Sweep\n"
        "from bench.study.tracking.mlflow import MLflow\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "warnings.simplefilter('error')\n"
        "run_config = parse(json.loads(sys.argv[1]))\n"
        "followed = MLflow(sys.argv[2], sys.argv[3]).tracker()\n"
        "followed.begin(Sweep((), ('a', 'b')))\n"
        "followed.start(run_config, RunFolder(Path('nowhere')))\n"
        "followed.fail(run_config, 'over', 'failed')"
    )
    place = f"sqlite:///{tmp_path}/new/mlflow.db"
    points = [json.dumps(config(seed=seed).resolved()) for seed in (0, 1)]
    processes = [
        subprocess.Popen([sys.executable, "-c", code, point, place, EXPERIMENT], stderr=subprocess.PIPE)
        for point in points
    ]
    said = [process.communicate()[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert said == ["", ""]
    statuses = sorted(run.info.status for run in runs_in(f"sqlite:///{tmp_path}/new/mlflow.db"))
    assert statuses == ["FAILED", "FAILED", "RUNNING"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["mlflow.db", "mlflow.db.lock"]
