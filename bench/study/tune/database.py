"""A study's database: an SQLite file, or one of a server; and this process alone at it."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.keys import ConfigError
from bench.system import sqlite
from bench.system.wording import first_line

FILE_SECONDS = 10
"""Seconds for which another program may lock an SQLite file."""
SERVER_SECONDS = 86_400
"""Seconds for which a server's lock is waited for; each is held for moments."""
LOCKS = {
    "postgresql": "SELECT pg_advisory_lock(hashtext('staleness-bench')) IS NOT NULL",
    "mysql": f"SELECT GET_LOCK('staleness-bench', {SERVER_SECONDS})",
    "mariadb": f"SELECT GET_LOCK('staleness-bench', {SERVER_SECONDS})",
}
"""The statement that gives a session, until it ends, the lock that others wait for; by kind of server."""


class Database:
    """A study's database. What is wrong with it, SQLAlchemy, Optuna and the system raise; :meth:`working` tells it.

    Args:
        place: the path or the URL of an SQLite file, or the URL of a server's database.
    """

    def __init__(self, place: str) -> None:
        self._place = place

    @functools.cached_property
    def file(self) -> Path | None:
        """The SQLite file; None if it is a server's."""
        if "://" not in self._place:
            return Path(self._place)
        return Path(str(self._url.database)) if self._url.get_backend_name() == "sqlite" else None

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Turn the errors of the database and its libraries into one of ours, and keep Optuna quiet.

        Raises:
            ConfigError: the database does not work.
        """
        from alembic.util import CommandError
        from optuna.exceptions import ExperimentalWarning, OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with warnings.catch_warnings(), quiet():
                warnings.simplefilter("ignore", ExperimentalWarning)
                yield
        except (OptunaError, SQLAlchemyError, CommandError, ImportError, OSError) as error:
            raise ConfigError(
                f"tuning.database={self._place!r}: {self._allowed(error)} ({first_line(error)})"
            ) from None

    def try_it(self) -> None:
        """Find out whether it can be used, and write nothing."""
        import sqlalchemy

        if self.file is None:
            with self._engine().connect():
                return
        if self.file.exists():
            engine = sqlalchemy.create_engine(f"sqlite:///{self.file}")
            sqlalchemy.inspect(engine).get_table_names()
            engine.dispose()
            return
        above = next(folder for folder in self.file.absolute().parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK):
            raise PermissionError(f"{above} is no folder that can be written")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes of ours away from it."""
        if self.file is not None:
            with sqlite.locked(self.file):
                yield
            return
        with self._engine().connect() as connection:
            if not connection.exec_driver_sql(LOCKS[self._url.get_backend_name()]).scalar():
                raise TimeoutError("another process does not let go of it")
            yield

    def storage(self) -> Any:
        """Optuna's storage, made where it is missing; to be called under :meth:`alone`."""
        from optuna.storages import RDBStorage

        if self.file is None:
            # Servers end connections that idle for as long as a trial may take.
            storage = RDBStorage(self._place, engine_kwargs={"pool_pre_ping": True})
            weakref.finalize(storage, storage.engine.dispose)
            return storage
        sqlite.make(self.file, lambda address: RDBStorage(address).engine.dispose())
        return RDBStorage(f"sqlite:///{self.file}", engine_kwargs={"connect_args": {"timeout": FILE_SECONDS}})

    def _allowed(self, error: Exception) -> str:
        if isinstance(error, ImportError):
            return "needs a driver that is not installed here"
        if self.file is None:
            return "allowed is a server's database that answers, and in which this user may make tables"
        return "allowed is an SQLite file that can be written and that no other program locks"

    @property
    def _url(self) -> Any:
        import sqlalchemy

        return sqlalchemy.make_url(self._place)

    def _engine(self) -> Any:
        """An SQLAlchemy engine whose connections end with their use, and with them whatever lock they hold."""
        import sqlalchemy

        return sqlalchemy.create_engine(self._url, poolclass=sqlalchemy.NullPool)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's log of every step from the user."""
    from optuna import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(before)
