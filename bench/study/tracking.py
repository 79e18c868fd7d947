"""Runs mirrored to MLflow, by the parent process alone, before and after training.

The folder of a run is the truth and MLflow its mirror. The client is used throughout: MLflow's fluent interface keeps a
current run and a current server for the whole process.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Protocol

from bench.config import MLflow, RunConfig, Tracking
from bench.study.record import RecordError, RunFolder, flatten, git_state
from bench.study.store import first_line, open_store, settled, silenced, wrong_uri

PARAMETER_LENGTH = 500
METRICS_A_CALL = 1000
SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}


class TrackingError(RuntimeError):
    """MLflow did not take what was sent at the end of a run. The run's folder is complete all the same."""


class Tracker(Protocol):
    """Follows one run at a time: start, then finish or fail."""

    def prepare(self) -> None: ...

    def start(self, run_config: RunConfig) -> None: ...

    def finish(self, folder: RunFolder) -> None: ...

    def fail(self, message: str, killed: bool) -> None: ...


def tracker(tracking: Tracking) -> Tracker:
    """The tracker that the configuration asks for; nothing is opened before its ``start``."""
    return MLflowTracker(tracking) if isinstance(tracking, MLflow) else NoTracker()


class NoTracker:
    """Follows nothing."""

    def prepare(self) -> None:
        pass

    def start(self, run_config: RunConfig) -> None:
        pass

    def finish(self, folder: RunFolder) -> None:
        pass

    def fail(self, message: str, killed: bool) -> None:
        pass


class MLflowTracker:
    """Mirrors runs to the MLflow experiment that the configuration names."""

    def __init__(self, tracking: MLflow) -> None:
        self.tracking = tracking
        self.client: Any = None
        self.run_id: str | None = None

    def prepare(self) -> None:
        """Import what takes seconds to import; nothing is opened."""
        with settled(SETTINGS), silenced():
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    def start(self, run_config: RunConfig) -> None:
        """Create the run, RUNNING, and end as KILLED those that a dead process of this machine left RUNNING.

        Raises:
            ConfigError: there is no MLflow at ``tracking.uri``, or the experiment was deleted there.
        """
        with settled(SETTINGS | IMPATIENCE), silenced():
            from mlflow.entities import Param
            from mlflow.exceptions import MlflowException

            try:
                self.client, experiment_id = open_store(self.tracking)
                _reap(self.client, experiment_id)
                name = _run_name(run_config)
                self.run_id = self.client.create_run(experiment_id, tags=_tags(run_config), run_name=name).info.run_id
                parameters = [Param(key, _text(value)) for key, value in flatten(run_config.canonical()).items()]
                self.client.log_batch(self.run_id, params=parameters)
            except MlflowException as error:
                raise wrong_uri(self.tracking.uri, error) from None

    def finish(self, folder: RunFolder) -> None:
        """Mirror the run's record and files, and end the run. A diverged run has a result: it ends FINISHED too.

        Raises:
            RecordError: the folder has no record, or a corrupt one.
            TrackingError: MLflow refused or was gone.
        """
        record = folder.read_record()
        if record is None:
            raise RecordError(f"{folder.record}: there is no record to mirror")
        with self._ending():
            from mlflow.entities import Metric, RunTag

            metrics = [Metric(*values) for values in _metrics(record, folder)]
            for first in range(0, len(metrics), METRICS_A_CALL):
                self.client.log_batch(self.run_id, metrics=metrics[first : first + METRICS_A_CALL])
            tags = {f"environment.{key}": _text(value) for key, value in record["environment"].items()}
            tags["status"] = record["status"]
            self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
            for file in (folder.record, folder.events_file, folder.timeline, folder.picture):
                if file.exists():
                    self.client.log_artifact(self.run_id, str(file))
            self.client.set_terminated(self.run_id, "FAILED" if record["status"] == "failed" else "FINISHED")
            self.run_id = None

    def fail(self, message: str, killed: bool) -> None:
        """End the run, if it was started, as FAILED or KILLED with the message in its tag ``error``.

        Raises:
            TrackingError: MLflow refused or was gone.
        """
        if self.run_id is None:
            return
        with self._ending():
            self.client.set_tag(self.run_id, "error", message[:5000])
            self.client.set_tag(self.run_id, "status", "killed" if killed else "failed")
            self.client.set_terminated(self.run_id, "KILLED" if killed else "FAILED")
            self.run_id = None

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        with settled(SETTINGS), silenced():
            from mlflow.exceptions import MlflowException

            try:
                yield
            except (MlflowException, OSError) as error:
                raise TrackingError(f"tracking.uri={self.tracking.uri!r}: {first_line(error)}") from None


# ---------------------------------------------------------------------------------------------------- dead processes
def _reap(client: Any, experiment_id: str) -> None:
    """A process that was killed by force leaves its run RUNNING for ever: end those of this machine that are dead."""
    query = f"attributes.status = 'RUNNING' and tags.host = '{platform.node()}'"
    for run in client.search_runs([experiment_id], query):
        if not _is_alive(int(run.data.tags.get("process", os.getpid()))):
            client.set_tag(run.info.run_id, "status", "killed")
            client.set_terminated(run.info.run_id, "KILLED")


def _is_alive(process: int) -> bool:
    with contextlib.suppress(PermissionError):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True


# ----------------------------------------------------------------------------------------------------- what is mirrored
def _run_name(run_config: RunConfig) -> str:
    keys = run_config.canonical()
    words = f"K{keys['stages']} S{keys['replicas']} c{keys['staleness']} {keys['weights']} seed{keys['seed']}"
    return f"{words} {run_config.hash()}"


def _tags(run_config: RunConfig) -> dict[str, str]:
    keys = run_config.canonical()
    names = ("method", "stages", "replicas", "staleness", "weights", "engine", "seed")
    commit, _ = git_state()
    tags = {name: str(keys[name]) for name in names}
    tags |= {"config_hash": run_config.hash(), "host": platform.node(), "process": str(os.getpid())}
    # The second is the name that MLflow's own pages show as the run's version.
    return tags | ({} if commit is None else {"git_commit": commit, "mlflow.source.git.commit": commit})


def _metrics(record: dict[str, Any], folder: RunFolder) -> Iterator[tuple[str, float, int, int]]:
    """Name, value, time in Unix milliseconds and step (updates) of every number that a run has."""
    finished = int(datetime.fromisoformat(record["finished"]).timestamp() * 1000)
    times = {event["epoch"]: int(event["time"] * 1000) for event in folder.events() if event["event"] == "epoch"}
    last: dict[str, Any] = {"step": 0}
    for last in record["epochs"]:
        for name, value in last.items():
            if name not in ("epoch", "step") and value is not None:
                yield name, float(value), times.get(last["epoch"], finished), last["step"]
    for name, value in record["metrics"].items():
        # Where the last epoch has said the same already, a second point would only draw a second dot.
        if value is not None and value != last.get(name):
            yield name, float(value), finished, last["step"]


def _text(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:PARAMETER_LENGTH]
