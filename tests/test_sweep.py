"""Sweeps that are killed, doubled and handed to a cluster: every point has one record and one run in MLflow."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.config import RunConfig
from bench.record.folder import RunFolder
from bench.study.tracking.contract import Tracker, TrackingError
from bench.study.tracking.none import NoTracking
from bench.system.call import Call, results
from tests.commands import BENCH, TINY, await_event, command, read_json, tracked

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("without_pictures")]


def _six(folder: Path) -> list[str]:
    """The words of a sweep of six points, kept in one folder wherever it is started."""
    kept = (f"runs_dir={folder}/runs", "tracking=mlflow", f"tracking.uri=sqlite:///{folder}/mlflow.db")
    return [*BENCH, "-m", *TINY, "stages=1,2", "seed=0,1,2", "epochs=20", *kept]


def _tracked(folder: Path) -> tuple[list[Any], list[Any]]:
    """Parents and children in the folder's MLflow database."""
    runs = tracked(f"sqlite:///{folder}/mlflow.db")
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return [run for run in runs if run not in children], children


def _assert_whole(folder: Path, points: int) -> None:
    """Check that there are so many records, and as many finished children of one finished parent."""
    records = [path.parent.name for path in folder.glob("runs/*/record.json")]
    parents, children = _tracked(folder)
    assert len(records) == points
    assert Counter(run.data.tags["config_hash"] for run in children) == Counter(records)
    assert {run.info.status for run in [*parents, *children]} == {"FINISHED"}
    assert [run.data.tags["mlflow.parentRunId"] for run in children] == [parents[0].info.run_id] * points
    assert len(parents) == 1


@pytest.mark.full
def test_a_sweep_survives_ten_kills(tmp_path: Path) -> None:
    """It is killed at random moments of its first seconds and of its training; each time the same command follows."""
    moments = random.Random(0)
    for number in range(10):
        with command(_six(tmp_path), tmp_path) as running:
            if number % 2:
                await_event(running, "runs/*/events.jsonl")
            try:
                code = running.wait(moments.uniform(0.5, 6))
            except subprocess.TimeoutExpired:
                running.process.send_signal(signal.SIGKILL)
                running.wait()
                running.assert_gone()
            else:
                assert code == 0, running.stderr
    with command(_six(tmp_path), tmp_path) as running:
        assert running.wait() == 0, running.stderr
        running.assert_gone()
    _assert_whole(tmp_path, 6)


@pytest.mark.full
def test_two_sweeps_at_once_share_the_points(tmp_path: Path) -> None:
    """The second one knows of the first's points as they are finished, and waits for the one under way."""
    with command(_six(tmp_path), tmp_path) as first, command(_six(tmp_path), tmp_path / "second") as second:
        assert first.wait() == 0, first.stderr
        assert second.wait() == 0, second.stderr
    assert _starts(tmp_path) == [1] * 6
    _assert_whole(tmp_path, 6)


def _starts(folder: Path) -> list[int]:
    """Count how often each run was begun."""
    return [path.read_text().count('"started"') for path in folder.glob("runs/*/events.jsonl")]


def test_two_sweeps_at_once_share_the_points_of_the_oracle(tmp_path: Path) -> None:
    """They do the same in processes that are forked, without MLflow."""
    words = [*TINY, "-m", "engine=reference", "stages=1,2", "seed=0,1,2", f"runs_dir={tmp_path}/runs"]
    assert results([Call(main, words), Call(main, words)]) == [0, 0]
    assert _starts(tmp_path) == [1] * 6
    assert len(list(tmp_path.glob("runs/*/record.json"))) == 6


class Recorder(Tracker):
    """Notes when it is spoken to."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, str]] = []

    def start(self, config: RunConfig, folder: RunFolder) -> None:  # noqa: ARG002
        self.calls.append((time.time(), f"start {config.seed}"))

    def deliver(self, folder: RunFolder) -> bool:
        seed = read_json(folder.record)["config"]["seed"]
        self.calls.append((time.time(), f"deliver {seed}"))
        return True


def test_a_tracker_is_told_before_and_after_a_run_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(NoTracking, "tracker", lambda _: recorder)
    assert main([*TINY, "-m", "engine=reference", "seed=0,1", f"runs_dir={tmp_path}"]) == 0
    for path in tmp_path.glob("*/events.jsonl"):
        times = {event["event"]: event["time"] for event in RunFolder(path.parent).events()}
        recorder.calls += [(times[name], f"  {name}") for name in ("started", "finished")]
    words = [word for _, word in sorted(recorder.calls)]
    assert words == [line for n in (0, 1) for line in (f"start {n}", "  started", "  finished", f"deliver {n}")]


def test_repeats_end_in_means_with_intervals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are those that a report of the same runs prints; a sweep without repeats has nothing to average."""
    words = [*TINY, "-m", "engine=reference", "stages=1,2", f"runs_dir={tmp_path}"]
    assert main(words) == 0
    assert "accuracy_low" not in capsys.readouterr().out
    assert main([*words, "seed=0,1"]) == 0
    said = capsys.readouterr().out
    assert main(["report", *words, "seed=0,1", "--results", str(tmp_path / "results")]) == 0
    tables = capsys.readouterr().out.partition("4 runs")[0].strip().split("\n\n")
    assert [table.split("\n")[0] for table in tables] == ["accuracy", "throughput"]
    assert [table for table in tables if table not in said] == []


def test_a_mirror_that_goes_away_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder()

    def refuse(*_: object) -> bool:
        raise TrackingError("tracking.uri='http://127.0.0.1:1': gone", outage=1)

    for name in ("start", "deliver", "end"):
        monkeypatch.setattr(recorder, name, refuse)
    monkeypatch.setattr(NoTracking, "tracker", lambda _: recorder)
    assert main([*TINY, "-m", "engine=reference", "seed=0,1", f"runs_dir={tmp_path}"]) == 0
    assert len(list(tmp_path.glob("*/record.json"))) == 2
    said = capsys.readouterr().err
    assert said.count("MLflow is away, training goes on: tracking.uri='http://127.0.0.1:1': gone\n") == 1
    assert f"not in MLflow: 2 of the runs; python -m bench sync runs_dir={tmp_path} delivers them\n" in said


def test_a_cluster_that_is_not_there_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written either, also by a dry run."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for words in (["-m", "seed=0,1"], ["seed=0"], ["dry_run=true"]):
        assert main([*TINY, *words, "engine=reference", "launcher=submitit"]) == 2
        assert capsys.readouterr().err == (
            "bench: launcher.cluster='slurm': there is no SLURM here (srun); allowed without it are launcher=local and "
            "launcher.cluster=local\n"
        )
    assert not list(tmp_path.iterdir())


def test_a_job_that_slurm_refuses_is_a_point_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for program in ("srun", "sbatch"):
        (tmp_path / program).write_text("#!/bin/sh\necho invalid partition >&2\nexit 1\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    words = [*TINY, "-m", "seed=0,1", "engine=reference", "launcher=submitit", f"runs_dir={tmp_path}/runs"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.count("SLURM takes no such job: invalid partition\n") == 4, "each when it fails, and at the end"


@pytest.mark.full
def test_points_are_jobs_of_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """submitit's local executor stands for SLURM."""
    monkeypatch.setattr("bench.study.launcher.submitit.POLL_SECONDS", 0.1)
    (tmp_path / "runs").mkdir()
    local = ("launcher=submitit", "launcher.cluster=local", "launcher.minutes=2")
    words = [*TINY, "-m", "stages=1,2", "epochs=1", *local, f"runs_dir={tmp_path}/runs"]
    assert main(words) == 0, capsys.readouterr().err
    records = [read_json(path) for path in tmp_path.glob("runs/*/record.json")]
    assert sorted((record["config"]["stages"], record["status"]) for record in records) == [(1, "done"), (2, "done")]
    assert main(words) == 0
    assert capsys.readouterr().err.count("has a record") == 2
