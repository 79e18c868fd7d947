"""MLflow's pages as ``python -m bench ui`` opens them: which runs, with which charts, and nothing left afterwards."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import webbrowser
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from bench.__main__ import main
from bench.config import RunConfig
from bench.record.runs_dir import SWEEPS, Sweep, read_sweeps
from bench.study.sweep.compose import single
from bench.study.sweep.where import ui_command, where
from bench.study.tracking import view
from bench.study.tracking.family import Family, family_of, last_family
from bench.study.tracking.webserver import ServerError, serving
from bench.study.verbs import ui
from bench.task.judgement import OLDEST
from tests.commands import BENCH, Command, await_that, command, processes
from tests.test_tracking import NOWHERE, begun, client_of, write_run
from tests.tiny import config

POINTS = [config(stages=stages, staleness=staleness, seed=7) for stages, staleness in ((1, 0), (2, 0), (2, 2))]
NAMES = ("K1 S1 c0 seed7", "K2 S1 c0 seed7", "K2 S1 c2 seed7")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 100
"""The most seconds to wait for whatever a busy machine does slowly."""


def hashes(points: list[RunConfig]) -> tuple[str, ...]:
    return tuple(point.hash() for point in points)


# ------------------------------------------------------------------------------------------------------- which runs
def run(name: str, point: str = "", status: str = "FINISHED", **tags: str) -> Any:
    """A run as MLflow has it."""
    tags |= {"config_hash": point} if point else {}
    tags = {key.replace("parent", "mlflow.parentRunId"): value for key, value in tags.items()}
    info = SimpleNamespace(run_id=name, run_name=name, status=status)
    return SimpleNamespace(info=info, data=SimpleNamespace(tags=tags))


def names(runs: tuple[Any, ...]) -> list[str]:
    return [run.info.run_id for run in runs]


RUNS = [
    run("sweep b", sweep="B"),
    run("b2 running", "2", "RUNNING", parent="sweep b"),
    run("b3", "3", parent="sweep b"),
    run("sweep a", sweep="A", status="FAILED"),
    run("a2", "2", parent="sweep a"),
    run("a1 again", "1", parent="sweep a"),
    run("a1", "1", parent="sweep a"),
    run("single", "9"),
]
"""The runs of an experiment, newest first."""


def test_the_last_sweep_is_the_newest_that_has_runs() -> None:
    sweeps = [Sweep(("stages=8",), ("8", "88")), Sweep(("+experiment=grid",), ("1", "2", "3", "4"))]
    family = last_family(RUNS, sweeps)
    assert (family.title, names(family.runs)) == ("sweep grid", ["b3", "a2", "a1 again"])
    assert family.name == sweeps[1].name


def test_without_sweeps_of_its_own_the_store_tells() -> None:
    family = last_family(RUNS, [])
    assert (family.title, family.name, names(family.runs)) == ("sweep b", "B", ["b3"])
    assert names(last_family(RUNS[3:], []).runs) == ["a2", "a1 again"]


def test_single_runs_are_compared_where_there_is_no_sweep() -> None:
    assert names(last_family(RUNS[-1:], []).runs) == ["single"]
    assert last_family(RUNS[:2], []).runs == ()


def test_a_sweep_that_is_named_is_taken_even_if_it_has_no_runs() -> None:
    assert family_of(Sweep((), ("8",)), RUNS).runs == ()
    assert names(family_of(Sweep((), ("9", "2"), "tuning"), RUNS).runs) == ["a2", "single"]


def test_sweeps_are_known_in_the_order_of_their_last_start(tmp_path: Path) -> None:
    sweeps = [Sweep((f"seed={number}",), (f"{number}", "0")) for number in range(4)]
    for sweep, moment in zip(sweeps, (30, 10, 40, 20), strict=True):
        sweep.write(tmp_path)
        os.utime(tmp_path / SWEEPS / f"{sweep.name}.json", (moment, moment))
    assert [sweep.points[0] for sweep in read_sweeps(tmp_path)] == ["1", "3", "0", "2"]


# ------------------------------------------------------------------------------------------ the page and its address
def state_of(content: str) -> dict[str, Any]:
    """What MLflow's page makes of a view's tag."""
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(content.removeprefix("deflate;"))))
    return state


def test_an_address_names_the_view_among_the_runs_of_an_experiment() -> None:
    parts = urlsplit(view.address("http://host:5000/", "7", "sweep a"))
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == "http://host:5000/"
    path, query = parts.fragment.split("?")
    assert path == "/experiments/7/runs"
    expected = {
        "viewStateShareKey": view.key("sweep a"),
        "compareRunsMode": "CHART",
        "workflowType": "machine_learning",
    }
    assert parse_qs(query) == {key: [value] for key, value in expected.items()}
    assert re.fullmatch("[0-9a-f]{12}", view.key("tüning & co"))


SHOWN = view.Shown(OLDEST.quality, OLDEST.units)


def test_a_view_shows_all_its_runs_unfolded_and_what_differs_between_them() -> None:
    parameters = {"r1": {"stages": "1", "seed": "0", "epochs": "2"}, "r2": {"stages": "2", "seed": "1", "epochs": "2"}}
    state = state_of(view.content(parameters, SHOWN))
    assert state["searchFilter"] == "attributes.run_id IN ('r1', 'r2')"
    assert state["orderByKey"] == "metrics.`accuracy/test`"
    assert state["runsHiddenMode"] == "SHOW_ALL"
    charts = {chart["type"]: chart for chart in state["compareRunCharts"]}
    assert set(charts) == {"BAR", "SCATTER", "LINE", "PARALLEL"}
    assert charts["PARALLEL"]["selectedParams"] == ["stages"]
    assert {chart["metricSectionId"] for chart in charts.values()} == {state["compareRunSections"][0]["uuid"]}
    alike = state_of(view.content({"r1": {"stages": "1"}, "r2": {"stages": "1"}}, SHOWN))
    assert "PARALLEL" not in {chart["type"] for chart in alike["compareRunCharts"]}


@pytest.mark.parametrize(
    ("key", "metric"), [("data.validation", "accuracy/validation"), ("data.name", "accuracy/test")]
)
def test_a_curve_is_of_the_images_that_epochs_are_judged_by(key: str, metric: str) -> None:
    state = state_of(view.content({"r1": {"stages": "1"}, "r2": {"stages": "2", key: "0.1"}}, SHOWN))
    assert [chart["metricKey"] for chart in state["compareRunCharts"] if chart["type"] == "LINE"] == [metric]


def test_as_many_runs_as_a_view_may_have_fit_into_a_tag() -> None:
    from mlflow.utils.validation import MAX_EXPERIMENT_TAG_VAL_LENGTH

    runs = {os.urandom(16).hex(): {"stages": str(number)} for number in range(view.RUNS_A_VIEW)}
    assert len(view.content(runs, SHOWN)) <= MAX_EXPERIMENT_TAG_VAL_LENGTH


# ------------------------------------------------------------------------------------------------------- what is typed
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "python -m bench ui"),
        (["seed=3", "model=mlp"], "python -m bench ui"),
        (
            ["runs_dir=runs/a", "tracking.uri=http://h:5000"],
            "python -m bench ui runs_dir=runs/a tracking.uri=http://h:5000",
        ),
        (["tracking.experiment='my runs'"], """python -m bench ui 'tracking.experiment='"'"'my runs'"'"''"""),
    ],
)
def test_the_command_finds_the_same_runs(words: list[str], expected: str) -> None:
    asked = single(words).settings
    assert ui_command(asked) == expected
    again = single(shlex.split(expected)[4:]).settings
    assert (again.runs_dir, again.tracking) == (asked.runs_dir, asked.tracking)


def test_a_sweep_ends_with_the_address_of_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address may be that of MLflow's own variable, too; its password is left out."""
    assert where(single([]).settings) == "python -m bench ui"
    given = single(["tracking.uri=http://h:5000"]).settings
    assert where(given) == "python -m bench ui tracking.uri=http://h:5000, at http://h:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:secret@h")
    assert where(single([]).settings) == "python -m bench ui, at https://user:***@h"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tracking=none"], "tracking='none': there is nothing to look into; allowed is mlflow"),
        ([], "tracking.uri='sqlite:///mlflow.db': there is no such database yet; the first run makes it"),
        (["tracking.uri=http://127.0.0.1:9"], "tracking.uri='http://127.0.0.1:9': allowed are "),
        (["stages=1,2"], "stages=1,2: several values are a sweep, which needs -m"),
    ],
)
def test_where_there_is_nothing_one_message_says_so(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["ui", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bench: {message}")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def store(no_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of a sweep, and MLflow's mirror of them beside it."""
    folder = tmp_path_factory.mktemp("ui")
    uri = f"sqlite:///{shutil.copy(no_runs, folder)}"
    opened = begun(uri, *POINTS)
    for point in POINTS:
        opened.start(point, NOWHERE)
        assert opened.deliver(write_run(folder / "runs", point))
    Sweep(("stages=1,2",), hashes(POINTS)).write(folder / "runs")
    opened.end("", failed=0)
    client = client_of(uri)
    client.delete_experiment(client.create_experiment("old"))
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tracking.experiment=other"], "tracking.experiment='other': there is no such experiment; "),
        (["tracking.experiment=old"], "tracking.experiment='old': it was deleted in MLflow; "),
        (["-m", "seed=1,2"], "tracking.uri='sqlite:///mlflow.db': holds no finished runs of these points"),
        (["--port", "{taken}"], "--port={taken}: allowed is a free one"),
        (["--port", "65536"], "--port=65536: allowed is a free one"),
    ],
)
def test_what_cannot_be_shown_is_one_message(
    words: list[str], message: str, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(store)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert main(["ui", *(word.format(taken=taken) for word in words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bench: {message.format(taken=taken)}")


def test_a_server_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho starting\necho no such store >&2\nexit 3\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(ServerError, match="ended with exit code 3: no such store"), serving("sqlite:///x.db", None):
        pass


# ---------------------------------------------------------------------------------------------------- in a browser
@pytest.fixture
def shown(store: Path, tmp_path: Path) -> Iterator[Command]:
    """``python -m bench ui``, which has given an address."""
    words = [*BENCH, "ui", f"tracking.uri=sqlite:///{store}/mlflow.db", f"runs_dir={store}/runs"]
    with command(words, tmp_path, DISPLAY="", WAYLAND_DISPLAY="") as running:

        def told() -> bool:
            assert running.process.poll() is None, running.stderr
            return "Ctrl-C" in running.stdout

        try:
            await_that(told, lambda: running.stdout + running.stderr)
            yield running
        finally:
            running.process.terminate()
            running.wait()


@pytest.mark.full
@pytest.mark.timeout(3 * SECONDS)
def test_the_comparison_has_names_and_charts_and_its_server_ends_with_the_command(
    shown: Command, tmp_path: Path
) -> None:
    title, address = shown.stdout.splitlines()[0].split(": ", 1)
    assert re.fullmatch("sweep [0-9a-f]{12}, 3 runs", title)
    page = dom(address, tmp_path) if CHROMIUM else ""
    (server,) = (number for number, (parent, _) in processes().items() if parent == shown.process.pid)
    assert len(of_session(server)) > 1
    shown.process.send_signal(signal.SIGTERM)
    assert shown.wait() == 130
    await_that(lambda: not of_session(server), lambda: f"{of_session(server)} are left")
    if not CHROMIUM:
        pytest.skip("no chromium here: the page was not looked at")
    assert [name for name in NAMES if name not in page] == []
    # Plotly has drawn a bar for each run in two charts.
    assert page.count('class="point') >= 2 * len(POINTS), page[:2000]


def of_session(leader: int) -> list[int]:
    return [number for number, (_, session) in processes().items() if session == leader]


def dom(address: str, folder: Path) -> str:
    """A page as a browser has it when everything is loaded and drawn."""
    words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/chromium"]
    words += ["--window-size=1900,1300", "--virtual-time-budget=60000", "--dump-dom", address]
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=SECONDS).stdout


def test_a_browser_is_opened_where_there_is_a_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(sys, "platform", "linux")
    family = Family("sweep a", "sweep grid", tuple(RUNS))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    ui.show("http://h:1", "5", family)
    assert opened == []
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    ui.show("http://h:1", "5", family)
    assert opened == [view.address("http://h:1", "5", "sweep a")]
    assert capsys.readouterr().out == 2 * f"sweep grid, 8 runs: {opened[0]}\n"
