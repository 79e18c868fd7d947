"""Where MLflow keeps runs: a database that is made safely, or a server; and MLflow kept quiet."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from bench.keys import ConfigError
from bench.system import sqlite
from bench.system.variables import variables
from bench.system.wording import first_line

QUIET = ("mlflow", "alembic", "urllib3")
"""Loggers to be kept quiet: whatever they log of an error, with tracebacks of SQL, their libraries raise too."""
LOCK_SECONDS = 2.0
"""Seconds for which another program may lock a database before it counts as away; MLflow would wait ten times as long,
and for each of a dozen questions anew."""


def refuse_fleeting(uri: str) -> str:
    """Refuse the URI of what would keep nothing; whether other stores are there is found out when they are opened."""
    if uri.startswith("sqlite") and not re.match(sqlite.FILE, uri):
        raise PydanticCustomError("store", "must name a file, as sqlite:///mlflow.db does, or be a server's address")
    return uri


def try_store(uri: str) -> None:
    """Find out whether a database can be used, and write nothing; MLflow would try for minutes.

    Raises:
        ConfigError: it cannot.
    """
    import sqlalchemy

    database = _sqlite_file(uri)
    if not _is_database(uri) or (database is not None and not database.exists()):
        return
    try:
        engine = sqlalchemy.create_engine(uri)
        sqlalchemy.inspect(engine).get_table_names()
        engine.dispose()
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, OSError) as error:
        raise wrong_uri(uri, error) from None


def open_store(uri: str, experiment: str) -> tuple[Any, str]:
    """A client of the server or database, and the experiment's id; both are created where they are missing.

    To be called under :func:`store_lock`, after :func:`try_store`.

    Raises:
        ConfigError: it is not there, or the experiment was deleted.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    try:
        database = _sqlite_file(uri)
        if database is not None:
            sqlite.make(database, lambda address: MlflowClient(tracking_uri=address))
        client = MlflowClient(tracking_uri=uri)
        return client, _experiment(client, experiment, database)
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        raise wrong_uri(uri, error) from None


def find_store(uri: str, experiment: str) -> tuple[Any, str]:
    """Find the client and the experiment's id as :func:`open_store` does; nothing is created.

    Raises:
        ConfigError: it is not there, or has no such experiment.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    database = _sqlite_file(uri)
    if database is not None and not database.exists():
        raise ConfigError(f"tracking.uri={uri!r}: there is no such database yet; the first run makes it")
    try_store(uri)
    try:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        names = [known.name for known in client.search_experiments()]
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        raise wrong_uri(uri, error) from None
    if found is None:
        allowed = f"{uri!r} has {', '.join(names)}"
        raise ConfigError(f"tracking.experiment={experiment!r}: there is no such experiment; {allowed}")
    return client, _active(found)


def is_server(uri: str) -> bool:
    """Whether it is the address of a server that runs by itself."""
    return uri.startswith(("http://", "https://"))


@contextlib.contextmanager
def store_lock(uri: str) -> Iterator[None]:
    """Keep other processes of ours away from the same SQLite database; a server copes by itself.

    Two that create it at once corrupt it, and two that look for a run and then create it would both create one.

    Raises:
        ConfigError: its folder cannot be written.
    """
    database = _sqlite_file(uri)
    if database is None:
        yield
        return
    try:
        lock = sqlite.locked(database)
    except OSError as error:
        raise wrong_uri(uri, error) from None
    with lock:
        yield


def await_writers(uri: str) -> None:
    """Wait, a little, until no other program locks the SQLite database.

    Raises:
        OSError: it is locked still, or cannot be used.
    """
    database = _sqlite_file(uri)
    if database is None or not database.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=LOCK_SECONDS)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except sqlite3.Error as error:
        raise OSError(str(error)) from None


def _is_database(uri: str) -> bool:
    return re.split("[+:]", uri, maxsplit=1)[0] in ("sqlite", "postgresql", "mysql", "mssql")


def _sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite database, which may be missing."""
    import sqlalchemy

    try:
        url = sqlalchemy.make_url(uri) if _is_database(uri) else None
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise wrong_uri(uri, error) from None
    return Path(url.database).resolve() if url and url.drivername.startswith("sqlite") and url.database else None


def _experiment(client: Any, name: str, database: Path | None) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        artifacts = None if database is None else (database.parent / "mlartifacts").as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException:
            # Another process may have created it since.
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    return _active(experiment)


def _active(experiment: Any) -> str:
    """An experiment's id. Raises ConfigError if the experiment was deleted."""
    if experiment.lifecycle_stage != "active":
        raise ConfigError(
            f"tracking.experiment={experiment.name!r}: it was deleted in MLflow; restore it there or name another"
        )
    return str(experiment.experiment_id)


def wrong_uri(uri: str, error: Exception) -> ConfigError:
    allowed = "sqlite:///<file>, the address of a running MLflow server (http://host:5000), or tracking=none"
    return ConfigError(f"tracking.uri={uri!r}: allowed are {allowed} ({first_line(error)})")


def settled(settings: dict[str, str]) -> contextlib.AbstractContextManager[None]:
    """Set, meanwhile, what MLflow takes from environment variables only. What the user has set stays."""
    return variables({key: value for key, value in settings.items() if key not in os.environ})


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Keep from the user what MLflow and its libraries log and warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.tracking  # noqa: F401  (importing sets the log levels that are raised below)

        before = {name: logging.getLogger(name).level for name in QUIET}
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)
