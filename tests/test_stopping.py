"""Runs whose end is announced: they stop at the next flush point, and go on from there as if nothing had been."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.record.folder import RunFolder
from bench.system.call import Call
from bench.system.signals import (
    ANNOUNCING,
    ENDING,
    FROM_TERMINALS,
    Interrupted,
    is_announced,
    is_interrupted,
    patient,
    terminable,
)
from tests.commands import BENCH, LONG, TINY, await_event, await_that, command, heed_signals, read_json, said

pytestmark = pytest.mark.timeout(300)
LONE = (*TINY, "epochs=40", "runs_dir=runs")
"""Some seconds of training; far too little for a checkpoint that nobody has asked for."""
IMPATIENT = """
import bench.system.signals as signals

signals.STOP_SECONDS = 0.5
"""


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ENDING}
    heed_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


# ---------------------------------------------------------------------------------------------------- what is announced
def test_what_is_announced_is_noted_by_the_patient_alone() -> None:
    noted = []

    def work() -> None:
        with patient():
            for number in (signal.SIGTERM, signal.SIGUSR1):  # the second one tells nothing new
                os.kill(os.getpid(), number)
                noted.append((is_announced(), is_interrupted()))

    with terminable(), pytest.raises(Interrupted):
        work()
    assert noted == [(True, False)] * 2
    assert not is_announced()
    with terminable(), pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
    assert not is_announced()


@pytest.mark.parametrize("number", ENDING)
def test_whatever_would_end_a_process_at_once_interrupts_it(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with terminable(), pytest.raises(Interrupted):
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", FROM_TERMINALS)
def test_who_sits_at_a_terminal_does_not_wait(number: signal.Signals) -> None:
    with terminable(), pytest.raises(Interrupted), patient():
        os.kill(os.getpid(), number)

    def work() -> None:
        with patient():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), number)
            raise AssertionError("it goes on")

    with terminable(), pytest.raises(Interrupted):
        work()


def _patient_seconds(seconds: float, begun: Path) -> bool:
    begun.touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not is_announced():
        time.sleep(0.01)
    return is_announced()


def test_processes_that_are_patient_are_told(tmp_path: Path) -> None:
    """The others are ended, as they are when this one is interrupted."""
    heard = []
    begun = tmp_path / "begun"

    def announce() -> None:
        await_that(begun.exists, lambda: "it does not begin")
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=announce)

    def work() -> None:
        with patient():
            thread.start()
            heard.append(Call(_patient_seconds, LONG, begun, patient=True).result())

    with terminable(), pytest.raises(Interrupted):
        work()
    thread.join()
    assert heard == [True]


# --------------------------------------------------------------------------------------------------------------- a run
def _whole(folder: Path) -> dict[str, Any]:
    """What a run came to: all that does not hang on the clock."""
    (path,) = folder.glob("runs/*/record.json")
    record = read_json(path)
    names = [name for name in record["epochs"][0] if name.split("/")[0] in ("loss", "accuracy", "lr", "step")]
    curves = [{name: epoch[name] for name in names} for epoch in record["epochs"]]
    return {"curves": curves, "model": torch.load(path.with_name("model.pt"), weights_only=True)}


def _assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["curves"] == expected["curves"]
    for name, tensor in found["model"].items():
        assert torch.equal(tensor, expected["model"][name]), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("whole")
    assert said(folder, *LONE, "engine=reference").code == 0
    return _whole(folder)


def _starts(folder: RunFolder) -> int:
    return folder.events_file.read_text().count('"started"')


def test_a_run_stops_behind_a_checkpoint_and_goes_on(whole: dict[str, Any], tmp_path: Path) -> None:
    """By the system, and then by a scheduler; in the end it is, bit by bit, what was never stopped."""
    for times, number in enumerate((signal.SIGTERM, signal.SIGUSR1), start=1):
        with command([*BENCH, *LONE], tmp_path) as running:
            folder = RunFolder(await_event(running, "runs/*/events.jsonl"))
            await_that(lambda: _starts(folder) == times, lambda: running.stderr)  # noqa: B023
            os.kill(running.process.pid, number)
            assert running.wait() == 143, running.stderr
            running.assert_gone()
        last = max(event["step"] for event in folder.events() if event["event"] == "checkpoint")
        message = f"stopped with a checkpoint at update {last} of 640; the same command goes on from there"
        assert running.stderr.splitlines()[-1] == f"bench: {message}"
        assert folder.read_failure()[:2] == ("killed", message)
    assert said(tmp_path, *LONE).code == 0
    assert len(read_json(folder.record)["resumed"]) == 2
    _assert_same(_whole(tmp_path), whole)


def test_the_oracle_stops_behind_a_checkpoint_and_goes_on(whole: dict[str, Any], tmp_path: Path) -> None:
    """It trains in this very process."""

    def announce() -> None:
        await_that(lambda: any('"epoch"' in path.read_text() for path in tmp_path.glob("runs/*/events.jsonl")), str)
        os.kill(os.getpid(), signal.SIGXCPU)

    thread = threading.Thread(target=announce)
    thread.start()
    stopped = said(tmp_path, *LONE, "engine=reference")
    thread.join()
    assert stopped.code == 143
    assert stopped.err.splitlines()[-1].startswith("bench: stopped with a checkpoint at update ")
    assert said(tmp_path, *LONE, "engine=reference").code == 0
    _assert_same(_whole(tmp_path), whole)


@pytest.mark.full
def test_points_side_by_side_stop_behind_their_checkpoints(tmp_path: Path) -> None:
    words = [*BENCH, "-m", *TINY, "epochs=20000", "engine=reference", "seed=0,1,2", "launcher.parallel=2"]
    with command(words, tmp_path) as running:
        await_that(
            lambda: len([1 for path in tmp_path.glob("runs/*/events.jsonl") if '"epoch"' in path.read_text()]) >= 2,
            lambda: running.stderr,
        )
        os.kill(running.process.pid, signal.SIGTERM)
        assert running.wait() == 143, running.stderr
        running.assert_gone()
    messages = [read_json(path)["message"] for path in tmp_path.glob("runs/*/failure.json")]
    assert len(messages) == 2
    assert all(message.startswith("stopped with a checkpoint at update ") for message in messages)


@pytest.mark.full
def test_who_has_announced_the_end_waits_so_long_and_no_longer(tmp_path: Path) -> None:
    """A run that comes to no flush point meanwhile ends without a checkpoint, as one that is interrupted."""
    (tmp_path / "sitecustomize.py").write_text(IMPATIENT)
    # An epoch of a minute, which the checks of the data do not take.
    words = [*BENCH, *TINY, "epochs=1", "data.train_size=400000"]
    with command(words, tmp_path, PYTHONPATH=str(tmp_path)) as running:
        folder = await_event(running, "runs/*/events.jsonl")
        os.kill(running.process.pid, signal.SIGTERM)
        assert running.wait() == 130, running.stderr
        running.assert_gone()
    assert read_json(folder / "failure.json")["message"] == "interrupted"
    assert not (folder / "checkpoint").exists()


def test_what_announces_is_what_no_terminal_sends() -> None:
    assert {*ANNOUNCING} == {signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU}
