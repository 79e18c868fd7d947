"""Runs mirrored to MLflow, by the parent process alone, before and after training.

The folder of a run is the truth and MLflow its mirror. The client is used throughout: MLflow's fluent interface keeps a
current run and a current server for the whole process.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import platform
import re
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from bench.config import ConfigError, MLflow, RunConfig, Tracking
from bench.study.record import RecordError, RunFolder, flatten, git_state

PARAMETER_LENGTH = 500
METRICS_A_CALL = 1000
QUIET = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "urllib3": logging.ERROR}
SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
IMPATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}


class TrackingError(RuntimeError):
    """MLflow did not take what was sent at the end of a run. The run's folder is complete all the same."""


class Tracker(Protocol):
    """Follows one run at a time: start, then finish or fail."""

    def start(self, run_config: RunConfig) -> None: ...

    def finish(self, folder: RunFolder) -> None: ...

    def fail(self, message: str, killed: bool) -> None: ...


def tracker(tracking: Tracking) -> Tracker:
    """The tracker that the configuration asks for; nothing is opened before its ``start``."""
    return MLflowTracker(tracking) if isinstance(tracking, MLflow) else NoTracker()


class NoTracker:
    """Follows nothing."""

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

    def start(self, run_config: RunConfig) -> None:
        """Create the run, RUNNING, and end as KILLED those that a dead process of this machine left RUNNING.

        Raises:
            ConfigError: there is no MLflow at ``tracking.uri``, or the experiment was deleted there.
        """
        with _settled(SETTINGS | IMPATIENCE), _silenced():
            from mlflow.entities import Param
            from mlflow.exceptions import MlflowException

            try:
                self.client, experiment_id = _open(self.tracking)
                _reap(self.client, experiment_id)
                name = _run_name(run_config)
                self.run_id = self.client.create_run(experiment_id, tags=_tags(run_config), run_name=name).info.run_id
                parameters = [Param(key, _text(value)) for key, value in flatten(run_config.canonical()).items()]
                self.client.log_batch(self.run_id, params=parameters)
            except MlflowException as error:
                raise _wrong_uri(self.tracking.uri, error) from None

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
        with _settled(SETTINGS), _silenced():
            from mlflow.exceptions import MlflowException

            try:
                yield
            except (MlflowException, OSError) as error:
                raise TrackingError(f"tracking.uri={self.tracking.uri!r}: {_first_line(error)}") from None


# ------------------------------------------------------------------------------------------------------------ opening
def _open(tracking: MLflow) -> tuple[Any, str]:
    """A client of the server or database, and the experiment's id; both are created where they are missing."""
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    try:
        database = _connect(tracking.uri)
        with _alone(database):
            if database is not None and not database.exists():
                _create(database)
            client = MlflowClient(tracking_uri=tracking.uri)
            return client, _experiment(client, tracking, database)
    except (SQLAlchemyError, ImportError, OSError) as error:
        raise _wrong_uri(tracking.uri, error) from None


def _connect(uri: str) -> Path | None:
    """Try a database once, where MLflow would for minutes. Returns the file of an SQLite one, which may be missing."""
    import sqlalchemy

    if re.split("[+:]", uri, maxsplit=1)[0] not in ("sqlite", "postgresql", "mysql", "mssql"):
        return None
    url = sqlalchemy.make_url(uri)
    database = Path(url.database).resolve() if url.drivername.startswith("sqlite") and url.database else None
    if database is None or database.exists():
        engine = sqlalchemy.create_engine(url)
        try:
            sqlalchemy.inspect(engine).get_table_names()
        finally:
            engine.dispose()
    return database


@contextlib.contextmanager
def _alone(database: Path | None) -> Iterator[None]:
    """Keep other processes of ours from creating the same SQLite database meanwhile: two at once corrupt it."""
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(database.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _create(database: Path) -> None:
    """Migrate under another name, then rename: a process killed in those two seconds leaves no half of a schema."""
    from mlflow.tracking import MlflowClient

    fresh = database.with_name(database.name + ".new")
    fresh.unlink(missing_ok=True)
    MlflowClient(tracking_uri=f"sqlite:///{fresh}")
    os.replace(fresh, database)


def _experiment(client: Any, tracking: MLflow, database: Path | None) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(tracking.experiment)
    if experiment is None:
        artifacts = None if database is None else (database.parent / "mlartifacts").as_uri()
        try:
            return str(client.create_experiment(tracking.experiment, artifact_location=artifacts))
        except MlflowException:
            # Another process may have created it since.
            experiment = client.get_experiment_by_name(tracking.experiment)
            if experiment is None:
                raise
    if experiment.lifecycle_stage != "active":
        raise ConfigError(
            f"tracking.experiment={tracking.experiment!r}: it was deleted in MLflow; restore it there or name another"
        )
    return str(experiment.experiment_id)


def _wrong_uri(uri: str, error: Exception) -> ConfigError:
    allowed = "sqlite:///<file>, the address of a running MLflow server (http://host:5000), or tracking=none"
    return ConfigError(f"tracking.uri={uri!r}: allowed are {allowed} ({_first_line(error)})")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


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


# --------------------------------------------------------------------------------------------------- keeping it quiet
@contextlib.contextmanager
def _settled(settings: dict[str, str]) -> Iterator[None]:
    """MLflow takes these from environment variables only. What the user has set stays; afterwards all is as before."""
    added = {key: value for key, value in settings.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep MLflow's and its libraries' deprecation warnings and migration logs from the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.tracking  # noqa: F401  (importing sets the log levels that are raised below)

        before = {name: logging.getLogger(name).level for name in QUIET}
        for name, level in QUIET.items():
            logging.getLogger(name).setLevel(level)
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)
