"""Where MLflow keeps runs: a database that is made safely, or a server; and MLflow kept quiet."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.config import ConfigError, MLflow

QUIET = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "urllib3": logging.ERROR}


def open_store(tracking: MLflow) -> tuple[Any, str]:
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
        raise wrong_uri(tracking.uri, error) from None


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


def wrong_uri(uri: str, error: Exception) -> ConfigError:
    allowed = "sqlite:///<file>, the address of a running MLflow server (http://host:5000), or tracking=none"
    return ConfigError(f"tracking.uri={uri!r}: allowed are {allowed} ({first_line(error)})")


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextlib.contextmanager
def settled(settings: dict[str, str]) -> Iterator[None]:
    """MLflow takes these from environment variables only. What the user has set stays; afterwards all is as before."""
    added = {key: value for key, value in settings.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
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
