"""Runs that end before their time: by their own fault, by the user's will, or by the system's."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.__main__ import main
from bench.engine.rank import RunFailed
from bench.study.launcher.agents import launch
from bench.system.call import Call
from bench.system.signals import ANNOUNCING, ENDING, Interrupted, is_interrupted, terminable
from tests.commands import (
    BENCH,
    TINY,
    Command,
    await_event,
    await_that,
    command,
    heed_signals,
    listening,
    read_json,
    tracked,
    training,
)
from tests.designs import in_full

ENDLESS = (*TINY, "epochs=20000", "runs_dir=runs")
STOPPED = re.compile(r"stopped with a checkpoint at update \d+ of \d+; the same command goes on from there")
"""What a run says that has stopped behind a checkpoint."""
pytestmark = pytest.mark.timeout(600)
TRAP = """
import math, multiprocessing, os, sys

square_root = math.sqrt

def trap(value):
    here = multiprocessing.current_process().name, sys._getframe(1).f_code.co_filename
    if here[0] == "rank 1" and here[1].endswith("engine/train.py") and os.path.exists("trap"):
        os.unlink("trap")
        raise ArithmeticError("sprung")
    return square_root(value)

math.sqrt = trap
"""
"""Rank 1 raises at the end of its first epoch, once: it takes a root there."""


HELD = """
import os, sys, time

if "multiprocessing.forkserver" in " ".join(sys.orig_argv):
    open("importing", "w").close()
    while os.path.exists("hold"):
        time.sleep(0.01)
"""
"""The process that imports for the ranks takes as long for it as the test wants."""


@pytest.fixture(scope="module")
def uri(no_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow database for all runs."""
    return f"sqlite:///{shutil.copy(no_runs, tmp_path_factory.mktemp('mlflow'))}"


def _tracked(uri: str, config_hash: str) -> dict[str, str]:
    """The status and the error of a run in MLflow."""
    runs = tracked(uri, f"tags.config_hash = '{config_hash}'")
    assert len(runs) == 1
    return {"status": runs[0].info.status, "error": runs[0].data.tags.get("error", "")}


class Sweep:
    """A sweep in which rank 1 raises, a run diverges, rank 0 is killed, a run diverges, rank 1 is killed, one diverges.

    All in one command, as to start one takes seconds.
    """

    def __init__(self, running: Command) -> None:
        self.killed: list[int] = []
        for position, rank in enumerate((0, 1)):
            self._kill(running, rank, runs=3 + 2 * position)
        self.code = running.wait()
        running.assert_gone()
        self.stderr, self.stdout = running.stderr, running.stdout
        folders = [path.parent for path in sorted(running.folder.glob("runs/*/events.jsonl"), key=_began)]
        self.folders = folders

    def _kill(self, running: Command, rank: int, runs: int) -> None:
        """Kill a rank of the run that starts as number ``runs``."""

        def trains() -> bool:
            assert running.process.poll() is None, running.stderr
            found = sorted(running.folder.glob("runs/*/events.jsonl"), key=_began)
            return len(found) == runs and '"epoch"' in found[-1].read_text()

        await_that(trains, lambda: f"run {runs} does not train; {running.stderr}")
        process = running.ranks()[rank]
        os.kill(process, signal.SIGKILL)
        self.killed.append(process)
        failures = list(running.folder.glob("runs/*/failure.json"))
        await_that(
            lambda: len(list(running.folder.glob("runs/*/failure.json"))) > len(failures), lambda: "the run goes on"
        )


def _began(events: Path) -> float:
    text = events.read_text()
    return float(text.split('"time": ')[1].split(",")[0].rstrip("}")) if text.endswith("\n") else time.time()


@pytest.fixture(scope="module")
def sweep(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "sitecustomize.py").write_text(TRAP)
    (folder / "trap").touch()
    words = [*BENCH, "-m", *ENDLESS, "tracking=mlflow", f"tracking.uri={uri}", "loss_limit=7,8,9", "lr.gamma0=1e-6,1e6"]
    with command(words, folder, PYTHONPATH=str(folder)) as running:
        yield Sweep(running)


def test_a_sweep_goes_on_after_a_failure(sweep: Sweep) -> None:
    assert sweep.code == 1
    outcomes = []
    for folder in sweep.folders:
        files = {path.name for path in folder.iterdir()}
        outcomes.append("diverged" if "record.json" in files else "failed")
        assert ("record.json" in files) != ("failure.json" in files)
    assert outcomes == ["failed", "diverged"] * 3
    assert sweep.stdout.count("| diverged |") == 3


def test_a_sweep_names_in_the_end_what_failed(sweep: Sweep) -> None:
    names = [folder.name for folder in sweep.folders[::2]]
    reasons = ["rank 1 failed: ArithmeticError: sprung", *_kills(sweep)]
    expected = [f"failed: K2 S1 c2 {name}: {reason}" for name, reason in zip(names, reasons, strict=True)]
    assert sweep.stderr.splitlines()[-3:] == expected


def _kills(sweep: Sweep) -> list[str]:
    return [f"rank {rank} (process {sweep.killed[rank]}) was killed by SIGKILL" for rank in (0, 1)]


def test_a_rank_that_raises_is_reported_with_its_traceback(sweep: Sweep, uri: str) -> None:
    """Its peer, which waits for it in vain, is not."""
    folder = sweep.folders[0]
    failure = read_json(folder / "failure.json")
    assert failure["status"] == "failed"
    lines = failure["message"].splitlines()
    assert lines[:2] == ["rank 1 failed:", "Traceback (most recent call last):"]
    assert lines[-1] == "ArithmeticError: sprung"
    assert f"K2 S1 c2 {folder.name}: {failure['message']}\n" in sweep.stderr
    assert _tracked(uri, folder.name) == {"status": "FAILED", "error": failure["message"]}


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_is_reported_with_the_signal(sweep: Sweep, uri: str, rank: int) -> None:
    folder = sweep.folders[2 + 2 * rank]
    failure = read_json(folder / "failure.json")
    assert failure["message"] == _kills(sweep)[rank]
    assert sweep.stderr.splitlines().count(f"K2 S1 c2 {folder.name}: {failure['message']}") == 1
    assert _tracked(uri, folder.name) == {"status": "FAILED", "error": failure["message"]}


def test_each_failure_is_reported_once(sweep: Sweep) -> None:
    assert sweep.stderr.count("Traceback (most recent call last):") == 1
    assert "PeerLost" not in sweep.stderr


def _signalled(running: Command, number: signal.Signals, group: bool) -> Path:
    """Signal a run that trains, again and again until it has ended; its folder, which says one thing."""
    folder = await_event(running, "runs/*/events.jsonl")
    while running.process.poll() is None:
        (os.killpg if group else os.kill)(running.process.pid, number)
        time.sleep(0.2)
    running.assert_gone()
    assert "Traceback" not in running.stderr
    assert not (folder / "record.json").exists()
    failure = read_json(folder / "failure.json")
    assert failure["status"] == "killed"
    assert running.stderr.splitlines()[-1] == f"bench: {failure['message']}"
    assert (running.process.returncode, bool(STOPPED.fullmatch(failure["message"]))) == _ending_by(number)
    return folder


def _ending_by(number: signal.Signals) -> tuple[int, bool]:
    """The exit code of a run that a signal ends while it trains, and whether it goes on from a checkpoint."""
    return (143, True) if number in ANNOUNCING else (130, False)


@pytest.mark.parametrize(
    ("number", "group"),
    in_full((signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGHUP, True)),
)
def test_a_signal_ends_a_run_however_often_it_comes(
    number: signal.Signals, group: bool, uri: str, tmp_path: Path
) -> None:
    """A second one, 0.2 s after the first, once ended nothing: the ranks trained on beside a failure."""
    words = [*ENDLESS, "tracking=mlflow", f"tracking.uri={uri}", f"seed={int(number) + 100 * group}"]
    with command([*BENCH, *words], tmp_path) as running:
        folder = _signalled(running, number, group)
    message = read_json(folder / "failure.json")["message"]
    assert _tracked(uri, folder.name) == {"status": "KILLED", "error": message}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_can_be_interrupted_while_it_starts(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C reaches the process that imports for the ranks, too."""
    (tmp_path / "sitecustomize.py").write_text(HELD)
    (tmp_path / "hold").touch()
    with command([*BENCH, *ENDLESS], tmp_path, PYTHONPATH=str(tmp_path)) as running:
        await_that((tmp_path / "importing").exists, lambda: running.stderr)
        os.killpg(running.process.pid, number)
        (tmp_path / "hold").unlink()
        assert running.wait() == 130
        running.assert_gone()
        assert running.stderr == "bench: interrupted\n"
    assert not list(tmp_path.glob("runs/*/*"))


def test_a_run_does_not_need_the_server_that_it_was_forked_from(tmp_path: Path) -> None:
    """Its ranks train on when that is killed, and end when the run is to."""
    with command([*BENCH, *ENDLESS], tmp_path) as running:
        folder = await_event(running, "runs/*/events.jsonl")
        os.kill(running.members()[running.ranks()[0]], signal.SIGKILL)
        before = (folder / "events.jsonl").read_text()
        await_that(lambda: (folder / "events.jsonl").read_text() != before, lambda: "the ranks have ended")
        _signalled(running, signal.SIGTERM, group=False)


def test_no_rank_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    """While it trains, nothing of it can be reached from another machine, whatever an environment says."""
    with command([*BENCH, *ENDLESS], tmp_path, GLOO_SOCKET_IFNAME="", RANK="1") as running:
        await_event(running, "runs/*/events.jsonl")
        assert len(running.ranks()) == 2
        addresses = listening(running.members())
        assert addresses, "the ranks have no connection to each other"
        assert {address for address in addresses if not address.is_loopback} == set()
        running.process.kill()
        running.wait()
        running.assert_gone()


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put the handlers of signals back as they were.

    And gradients: a signal that comes in between ``torch.no_grad`` and its body leaves them off for all tests to come.
    """
    before = {number: signal.getsignal(number) for number in ENDING}
    yield
    torch.set_grad_enabled(True)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", ENDING)
def test_whatever_would_end_a_process_at_once_ends_it_in_order(
    number: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The oracle runs in this very process."""

    def terminate() -> None:
        await_that(lambda: training(tmp_path, "*/events.jsonl"), lambda: "the oracle does not train")
        os.kill(os.getpid(), number)

    heed_signals()
    before = [signal.getsignal(each) for each in ENDING]
    thread = threading.Thread(target=terminate)
    thread.start()
    code, stopped = _ending_by(number)
    assert main([*ENDLESS, f"runs_dir={tmp_path}", "engine=reference"]) == code
    thread.join()
    assert [signal.getsignal(each) for each in ENDING] == before
    failure = read_json(next(tmp_path.glob("*/failure.json")))
    assert capsys.readouterr().err.splitlines()[-1] == f"bench: {failure['message']}"
    assert failure["status"] == "killed"
    assert failure["message"] == "interrupted" or (stopped and STOPPED.fullmatch(failure["message"]))


@pytest.mark.usefixtures("handlers")
def test_a_signal_that_a_process_was_started_to_ignore_stays_ignored() -> None:
    """``nohup`` ignores SIGHUP, and a shell has its background jobs ignore SIGINT."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with terminable():
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_signal_that_a_library_swallows_is_not_lost() -> None:
    """One that came while an object was deleted, say: an exception there goes nowhere."""
    with terminable():
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            Call(time.sleep, 3600).result()
    assert not is_interrupted()


def test_a_result_that_came_before_the_end_is_the_truth(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes while the picture is drawn: the run has its record by then."""
    monkeypatch.setattr("bench.study.report.timeline.draw", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    words = [*TINY, "epochs=1", "engine=reference", "tracking=mlflow", f"tracking.uri={uri}", f"runs_dir={tmp_path}"]
    assert main(words) == 130
    (record,) = tmp_path.glob("*/record.json")
    assert not (record.parent / "failure.json").exists()
    assert _tracked(uri, record.parent.name) == {"status": "FINISHED", "error": ""}


def test_a_rank_that_dies_once_the_result_is_there_does_not_cost_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(*words: Any) -> None:
        launch(*words)
        raise RunFailed("rank 1 (process 7) was killed by SIGKILL")

    monkeypatch.setattr("bench.study.launcher.execution.launch", killed)
    assert main([*TINY, "epochs=1", "engine=reference", f"runs_dir={tmp_path}"]) == 0
    (record,) = tmp_path.glob("*/record.json")
    assert not (record.parent / "failure.json").exists()
    said = f"K2 S1 c2 {record.parent.name}: has its record, and then rank 1 (process 7) was killed by SIGKILL"
    assert said in capsys.readouterr().err.splitlines()
