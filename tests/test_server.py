"""A real MLflow server on loopback, which goes away in the middle and comes back."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.record.runs_dir import Sweep
from bench.study.tracking import view
from bench.study.tracking.contract import TrackingError
from bench.study.tracking.webserver import SETTINGS
from bench.study.verbs import ui
from tests.commands import await_that
from tests.test_tracking import NOWHERE, begun, client_of, run_of, runs_in, write_run
from tests.tiny import config

pytestmark = pytest.mark.timeout(600)
POINTS = [config(seed=seed) for seed in (0, 1, 2)]


class Server:
    """``mlflow server`` in a process group of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        words += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--workers", "1"]
        words += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                words,
                cwd=self.folder,
                env={**os.environ, **SETTINGS},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        await_that(self._answers, (self.folder / "log").read_text)

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(no_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    shutil.copy(no_runs, server.folder / "server.db")
    server.start()
    yield server
    server.stop()


@pytest.mark.full
def test_what_a_server_misses_is_delivered_later_once(
    server: Server,
    tmp_path: Path,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs_dir = tmp_path / "runs"
    Sweep(("seed=0,1,2",), tuple(point.hash() for point in POINTS)).write(runs_dir)
    opened = begun(server.uri, *POINTS)
    opened.start(POINTS[0], NOWHERE)
    folders = [write_run(runs_dir, POINTS[0])]
    assert opened.deliver(folders[0])
    run = run_of(server.uri, POINTS[0])
    assert (run.info.status, run.data.metrics["accuracy/test"]) == ("FINISHED", 0.6)
    assert run.inputs.dataset_inputs[0].dataset.name == "synthetic"
    artifacts = {artifact.path for artifact in client_of(server.uri).list_artifacts(run.info.run_id)}
    assert {"record.json", "model.pt", "timeline.png"} <= artifacts

    opened.start(POINTS[1], NOWHERE)
    server.stop()
    folders += [write_run(runs_dir, point) for point in POINTS[1:]]
    for call in (
        lambda: opened.deliver(folders[1]),
        lambda: opened.start(POINTS[2], NOWHERE),
        lambda: opened.end("", 0),
    ):
        with pytest.raises(TrackingError, match=rf"tracking\.uri='{server.uri}'"):
            call()
    assert sum(pauses) < 30
    words = ["sync", f"runs_dir={runs_dir}", f"tracking.uri={server.uri}"]
    assert main(words) == 2
    assert "allowed are" in capsys.readouterr().err

    server.start()
    (runs_dir / "cut").mkdir()
    (runs_dir / "cut/record.json").write_text("{")
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.out == "delivered 2 runs; 1 were there already; 1 cannot be read\n"
    assert said.err.startswith(f"passed over: {runs_dir}/cut/record.json: ")
    (runs_dir / "cut/record.json").unlink()
    assert main(words) == 0
    assert capsys.readouterr().out == "delivered 0 runs; 3 were there already\n"
    runs = [run_of(server.uri, point) for point in POINTS]
    (parent,) = runs_in(server.uri, "tags.points = '3'")
    assert {run.info.status for run in [*runs, parent]} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent.info.run_id}
    assert len(runs_in(server.uri)) == 4

    monkeypatch.setattr(ui, "has_window", lambda: False)
    assert main(["ui", *words[1:]]) == 0
    experiment, name = parent.info.experiment_id, parent.data.tags["sweep"]
    assert capsys.readouterr().out == f"sweep {name}, 3 runs: {view.address(server.uri, experiment, name)}\n"
    assert view.TAG + view.key(name) in client_of(server.uri).get_experiment(experiment).tags


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tracking=none"], "bench: tracking='none': there is nowhere to deliver to; allowed is mlflow\n"),
        (["runs_dir=nowhere"], "bench: runs_dir='nowhere': holds no runs\n"),
    ],
)
def test_nothing_to_deliver(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", *words]) == 2
    assert capsys.readouterr().err == message
