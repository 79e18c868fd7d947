"""Where a study may be kept: files, and a real PostgreSQL on loopback."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.keys import ConfigError
from tests.commands import await_that
from tests.test_trials import DEAD, opened, states, work

PASSWORD = "se:cr/et"
"""A password as it is typed in a URL, but for the slash, which is %2F there."""


class Postgres:
    """A server in a folder of its own, run by a user without rights, which PostgreSQL insists on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rights: dict[str, Any] = {} if os.geteuid() else {"user": 65534, "group": 65534, "extra_groups": []}
        if self._rights:
            os.chown(folder, 65534, 65534)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def url(self, password: str = PASSWORD.replace("/", "%2F")) -> str:
        return f"postgresql://me:{password}@127.0.0.1:{self.port}/postgres"

    def start(self, binaries: Path) -> None:
        (self._folder / "password").write_text(PASSWORD)
        words = ["initdb", "--no-sync", "--auth=scram-sha-256", "--username=me", "--encoding=UTF8", "--locale=C"]
        words += [f"--pwfile={self._folder}/password", f"--pgdata={self._folder}/data"]
        subprocess.run([binaries / words[0], *words[1:]], check=True, capture_output=True, **self._rights)
        words = [f"-D{self._folder}/data", f"-p{self.port}", f"-k{self._folder}", "-h127.0.0.1", "-F"]
        with (self._folder / "log").open("w") as log:
            self.process = subprocess.Popen([binaries / "postgres", *words], stdout=log, stderr=log, **self._rights)
        # It listens before it answers: "the database system is starting up".
        told = (self._folder / "log").read_text
        await_that(lambda: "ready to accept connections" in told(), told)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server whose folder is not in pytest's own ones, which another user cannot even enter."""
    pytest.importorskip("psycopg", reason="no driver for PostgreSQL; psycopg[binary] is one")
    places = [shutil.which("initdb"), *map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    found = next(filter(None, places), None)
    if found is None:
        pytest.skip("no PostgreSQL here; Debian's package is postgresql")
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(Path(folder))
        server.start(Path(found).resolve().parent)
        yield server
        server.stop()


@pytest.mark.full
def test_processes_that_share_a_server_have_each_trial_once(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tables are made by one of them alone; and nothing of it is a folder here."""
    monkeypatch.chdir(tmp_path)
    with multiprocessing.get_context("forkserver").Pool(3) as pool:
        parts = pool.starmap(work, [(postgres.url(), 12)] * 3)
    assert sorted(position for part in parts for position in part) == list(range(1, 13))
    trials = opened(postgres.url(), "trials=12")
    assert states(trials) == ["COMPLETE"] * 12
    assert len({trial.params["gamma0"] for trial in trials.all()}) == 12
    assert list(tmp_path.iterdir()) == []


def test_a_dead_processs_trial_on_a_server_is_tried_once_more(postgres: Postgres) -> None:
    trials = opened(postgres.url(), "tuning.study=dead", "trials=1")
    first = trials.claim()
    assert first is not None
    assert opened(postgres.url(), "tuning.study=dead", "trials=1").claim() is None
    first.trial.set_user_attr("process", DEAD)
    again = trials.claim()
    assert again is not None
    assert again.settings == first.settings
    trials.finish(again, [0.5])
    assert trials.is_over()
    assert states(trials) == ["FAIL", "COMPLETE"]


SERVER = "allowed is a server's database that answers, and in which this user may make tables"
FILE = "must be the path of an SQLite file, sqlite:///<file>, postgresql://<user>@<host>/<database> or "


def refused(place: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What ``tune`` says of a database, in a folder that it leaves empty."""
    words = ["tune", "trials=1", "data=synthetic", "model=mlp", f"tuning.database={place}"]
    assert main([*words, "--results", str(folder / "results"), f"runs_dir={folder}/runs"]) == 2
    assert list(folder.iterdir()) == []
    (said,) = capsys.readouterr().err.splitlines()
    return said


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_server_that_refuses_is_told_without_the_password(
    postgres: Postgres, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(postgres.url("geheim"), here, capsys)
    shown = postgres.url().replace("se:cr%2Fet", "***")
    assert said.startswith(f"bench: tuning.database='{shown}': {SERVER} (")
    assert "password authentication failed" in said


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("postgresql://me:geheim@127.0.0.1:9/name", f"'postgresql://me:***@127.0.0.1:9/name': {SERVER} ("),
        ("mysql://me:geheim@127.0.0.1/name", "needs a driver that is not installed here (No module named 'MySQLdb')"),
        ("postgresql://me:geheim@127.0.0.1:port/name", f"'postgresql://me:***@127.0.0.1:port/name': {FILE}"),
        ("postgresql:name", FILE),
        ("mssql://me:geheim@host/name", f"'mssql://me:***@host/name': {FILE}"),
        ("http://127.0.0.1:5000", FILE),
        ("sqlite://", FILE),
        ("sqlite:///", FILE),
        ("sqlite:///:memory:", FILE),
        ("sqlite:studies.db", FILE),
        ("sqlite:////dev/null/studies.db", "allowed is an SQLite file that can be written"),
        ("/dev/null/studies.db", "allowed is an SQLite file that can be written"),
    ],
)
def test_a_wrong_database_is_told_at_once(
    place: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(place, here, capsys)
    assert said.startswith("bench: tuning.database='")
    assert message in said
    assert "geheim" not in said


def test_a_path_and_its_url_are_one_database(tmp_path: Path) -> None:
    database = tmp_path / "new" / "studies.db"
    claim = opened(f"sqlite:///{database}", "trials=1").claim()
    assert claim is not None
    trials = opened(database, "trials=1")
    assert states(trials) == ["RUNNING"]
    assert trials.claim() is None
    assert sorted(path.name for path in database.parent.iterdir()) == ["studies.db", "studies.db.lock"]


def test_a_study_of_another_space_is_told_without_the_password(postgres: Postgres) -> None:
    """The password is shown no more than in anything else that is wrong, on its way out."""
    opened(postgres.url(), "tuning.study=mine")
    with pytest.raises(ConfigError, match="another search space"):
        opened(postgres.url(), "tuning.study=mine", "epochs=10")
