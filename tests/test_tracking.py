"""The mirror in MLflow, read back with MLflow's own client from real databases."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.config import ConfigError, MLflow, NoTracking, RunConfig
from bench.study.record import RecordError, RunFolder
from bench.study.tracking import MLflowTracker, TrackingError, tracker
from tests.tiny import config

EXPERIMENT = "staleness-bench"
DEAD = 2**22 + 1
"""Above the largest process id that Linux gives."""


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for the tests that need no fresh one: to create it takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('tracking')}/mlflow.db"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """What a run of two epochs leaves."""
    folder = RunFolder(tmp_path / "run")
    folder.append({"event": "started", "time": 1000.0, "steps": 44, "epochs": 2})
    epochs = []
    for epoch, loss in ((0, 1.5), (1, None)):
        numbers = {"loss/train": loss, "accuracy/test": 0.5 + epoch / 10, "lr": 0.1}
        epochs.append({"epoch": epoch, "step": 22 * (epoch + 1), "time/train_seconds": 2.0 * (epoch + 1), **numbers})
        folder.append({"event": "epoch", "time": 1010.0 + epoch, **epochs[-1]})
    folder.timeline.write_text("{}")
    folder.picture.write_bytes(b"PNG")
    folder.write_record(_record(epochs=epochs))
    return folder


def _record(**changes: Any) -> dict[str, Any]:
    metrics = {"accuracy/test": 0.6, "throughput/images_per_second": 540.0, "loss/train": None}
    times = {"started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:01:00+00:00"}
    environment = {"torch": "2.14.0", "gpu": None, "cores": 2, "oversubscribed": False}
    record = {"schema": 1, "status": "done", "metrics": metrics, "environment": environment, "epochs": []}
    return {**record, **times, **changes}


def _client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _start(uri: str, run_config: RunConfig | None = None) -> tuple[MLflowTracker, str]:
    started = MLflowTracker(MLflow("mlflow", uri, EXPERIMENT))
    started.start(run_config or config())
    assert started.run_id is not None
    return started, started.run_id


def test_a_started_run_is_running_with_its_parameters(uri: str) -> None:
    run_config = config(stages=2, staleness=2, model={"name": "mlp", "hidden": 8, "layers": 3})
    started, run_id = _start(uri, run_config)
    run = _client(uri).get_run(run_id)
    assert run.info.status == "RUNNING"
    assert run.info.run_name == f"K2 S1 c2 stashed seed0 {run_config.hash()}"
    assert run.data.params["model.hidden"] == "8"
    assert run.data.params["data.shape"] == "[3, 8, 8]"
    assert run.data.params["max_steps"] == "null"
    assert not {"runs_dir", "force", "tracking.name"} & set(run.data.params)
    expected = {"method": "decoupled", "stages": "2", "replicas": "1", "staleness": "2", "weights": "stashed"}
    expected |= {"engine": "distributed", "seed": "0", "config_hash": run_config.hash(), "host": platform.node()}
    assert expected.items() <= run.data.tags.items()
    started.fail("over", killed=False)


def test_a_finished_run_has_the_history_of_its_metrics(uri: str, folder: RunFolder) -> None:
    started, run_id = _start(uri)
    started.finish(folder)
    client = _client(uri)
    history = client.get_metric_history(run_id, "accuracy/test")
    assert [(point.step, point.value, point.timestamp) for point in history] == [
        (22, 0.5, 1010_000),
        (44, 0.6, 1011_000),
    ]
    assert [point.value for point in client.get_metric_history(run_id, "loss/train")] == [1.5]
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["throughput/images_per_second"] == 540
    assert run.data.metrics["time/train_seconds"] == 4
    assert not {"epoch", "step"} & set(run.data.metrics)
    assert run.data.tags["status"] == "done"
    assert run.data.tags["environment.torch"] == "2.14.0"
    assert run.data.tags["environment.oversubscribed"] == "false"


def test_a_finished_run_has_its_files_beside_the_database(uri: str, folder: RunFolder) -> None:
    started, run_id = _start(uri)
    started.finish(folder)
    names = sorted(artifact.path for artifact in _client(uri).list_artifacts(run_id))
    assert names == ["events.jsonl", "record.json", "timeline.json", "timeline.png"]
    artifacts = Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts"
    (record,) = artifacts.glob(f"{run_id}/artifacts/record.json")
    assert record.read_bytes() == folder.record.read_bytes()


def test_a_diverged_run_has_a_result(uri: str, folder: RunFolder) -> None:
    folder.write_record(_record(status="diverged"))
    started, run_id = _start(uri)
    started.finish(folder)
    run = _client(uri).get_run(run_id)
    assert (run.info.status, run.data.tags["status"]) == ("FINISHED", "diverged")


def test_more_metrics_than_a_call_takes_are_all_there(uri: str, folder: RunFolder) -> None:
    epochs = [{"epoch": epoch, "step": epoch + 1, "loss/test": 1.0, "lr": 0.1} for epoch in range(501)]
    folder.write_record(_record(epochs=epochs))
    started, run_id = _start(uri)
    started.finish(folder)
    assert len(_client(uri).get_metric_history(run_id, "loss/test")) == 501


@pytest.mark.parametrize(("killed", "status"), [(False, "FAILED"), (True, "KILLED")])
def test_a_failure_is_told(uri: str, killed: bool, status: str) -> None:
    started, run_id = _start(uri)
    started.fail("rank 1: out of memory" + "." * 9000, killed)
    run = _client(uri).get_run(run_id)
    assert run.info.status == status
    assert run.data.tags["error"].startswith("rank 1: out of memory")


def test_failing_before_the_start_does_nothing(uri: str) -> None:
    MLflowTracker(MLflow("mlflow", uri, EXPERIMENT)).fail("interrupted", killed=True)


def test_a_run_without_a_record_cannot_finish(uri: str, tmp_path: Path) -> None:
    started, _ = _start(uri)
    with pytest.raises(RecordError, match=r"record\.json"):
        started.finish(RunFolder(tmp_path))
    started.fail("no record", killed=False)


def test_a_run_that_a_dead_process_left_running_is_ended(uri: str) -> None:
    _, left_id = _start(uri)
    alive, alive_id = _start(uri)
    client = _client(uri)
    client.set_tag(left_id, "process", str(DEAD))
    last, _ = _start(uri)
    assert client.get_run(left_id).info.status == "KILLED"
    assert client.get_run(alive_id).info.status == "RUNNING"
    for each in (alive, last):
        each.fail("over", killed=False)


def test_a_mirror_that_breaks_at_the_end_says_so(uri: str, folder: RunFolder) -> None:
    started, run_id = _start(uri)
    _client(uri).delete_run(run_id)
    with pytest.raises(TrackingError, match=r"tracking\.uri="):
        started.finish(folder)


def test_a_deleted_experiment_is_a_wrong_configuration(uri: str) -> None:
    client = _client(uri)
    client.delete_experiment(client.create_experiment("old"))
    with pytest.raises(ConfigError, match=r"tracking\.experiment='old': it was deleted"):
        MLflowTracker(MLflow("mlflow", uri, "old")).start(config())


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
def test_a_wrong_uri_is_told_at_once(wrong: str, tmp_path: Path) -> None:
    no_database = tmp_path / "no_database"
    no_database.write_text("this is no database" * 100)
    begun = time.monotonic()
    with pytest.raises(ConfigError, match=r"^tracking\.uri='.*': allowed are sqlite:///<file>, .* or tracking=none"):
        MLflowTracker(MLflow("mlflow", wrong.format(no_database), EXPERIMENT)).start(config())
    assert time.monotonic() - begun < 15


def test_nothing_is_left_changed(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    environment = dict(os.environ)
    level = logging.getLogger("alembic").level
    _start(uri)[0].fail("over", killed=False)
    assert dict(os.environ) == environment
    assert logging.getLogger("alembic").level == level


def test_no_tracking_does_nothing(tmp_path: Path) -> None:
    silent = tracker(NoTracking("none"))
    silent.start(config())
    silent.finish(RunFolder(tmp_path))
    silent.fail("over", killed=True)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_may_open_one_fresh_database(tmp_path: Path) -> None:
    code = (
        "import json, logging, sys, warnings\n"
        "from bench.config import parse\n"
        "from bench.study.tracking import tracker\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "warnings.simplefilter('error')\n"
        "run_config = parse(json.loads(sys.argv[1]))\n"
        "followed = tracker(run_config.tracking)\n"
        "followed.start(run_config)\n"
        "followed.fail('over', killed=False)"
    )
    tracking = {"name": "mlflow", "uri": f"sqlite:///{tmp_path}/new/mlflow.db", "experiment": EXPERIMENT}
    command = [sys.executable, "-c", code, json.dumps(config(tracking=tracking).resolved())]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate(timeout=60)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert said == ["", ""]
    client = _client(f"sqlite:///{tmp_path}/new/mlflow.db")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FAILED", "FAILED"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["mlflow.db", "mlflow.db.lock"]
