"""What a user sees of a run, from the events alone."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from bench.record.folder import RunFolder
from bench.record.tail import Tail
from bench.study.launcher.progress import Progress, print_aside
from tests.commands import await_that


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _train(folder: RunFolder) -> None:
    """The events of a run of two epochs whose second has diverged."""
    folder.append({"event": "started", "steps": 44, "epochs": 2})
    folder.append({"event": "progress", "epoch": 0, "step": 11, "units_per_second": 1200.0})
    epoch = {"loss/train": 0.5, "accuracy/test": 0.875, "throughput/units_per_second": 1234.0}
    folder.append({"event": "epoch", "epoch": 0, "step": 22, "time/train_seconds": 1.0, **epoch})
    lost = {"loss/train": float("nan"), "accuracy/test": float("nan")}
    folder.append({"event": "epoch", "epoch": 1, "step": 44, "time/train_seconds": 2.0, **epoch, **lost})
    folder.append({"event": "finished", "status": "diverged"})


def test_a_log_gets_a_line_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    folder = RunFolder(tmp_path)
    with Progress(folder, "run 3/8 K2 S1 c2"):
        _train(folder)
    assert stream.getvalue().splitlines() == [
        "run 3/8 K2 S1 c2 · epoch 1/2 · loss 0.5000 · test accuracy 87.5% · 1234 img/s",
        "run 3/8 K2 S1 c2 · epoch 2/2 · loss - · test accuracy - · 1234 img/s",
    ]


def test_a_terminal_gets_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    folder = RunFolder(tmp_path)
    with Progress(folder, "run 3/8 K2 S1 c2") as progress:
        folder.append({"event": "started", "steps": 44, "epochs": 2})
        folder.append({"event": "progress", "epoch": 1, "step": 33, "units_per_second": 1234.4})
    last = stream.getvalue().rstrip().split("\r")[-1]
    assert "run 3/8 K2 S1 c2 · epoch 2/2 · 1234 img/s |" in last
    assert " 75% [" in last
    assert not progress.thread.is_alive()


def test_a_terminal_gets_a_bar_for_every_run_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in a line of its own; what is said meanwhile stands above them, in whole lines."""
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    with (
        Progress(RunFolder(tmp_path / "a"), "run 1/2 K1 S1 c0"),
        Progress(RunFolder(tmp_path / "b"), "run 2/2 K2 S1 c2"),
    ):
        stream.truncate(0)
        print_aside("run 3/3: has a record, skipped")
    shown = stream.getvalue()
    said = shown.index("run 3/3: has a record, skipped\n")
    assert "run 1/2" not in shown[:said]
    assert shown.index("run 1/2 K1 S1 c0", said) < shown.index("\n\rrun 2/2 K2 S1 c2", said)


def test_events_are_shown_while_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    folder = RunFolder(tmp_path)
    with Progress(folder, "run 1/1 K1 S1 c0"):
        _train(folder)
        await_that(lambda: "epoch 2/2" in stream.getvalue(), stream.getvalue)


def test_the_bar_ends_when_the_run_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = Progress(RunFolder(tmp_path), "run 1/1 K1 S1 c0")

    def fail() -> None:
        with progress:
            raise RuntimeError("rank 0 failed")

    with pytest.raises(RuntimeError, match="rank 0"):
        fail()
    assert not progress.thread.is_alive()


def test_a_tail_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    tail = Tail(folder)
    assert tail.read() == []
    with folder.events_file.open("a") as file:
        file.write('{"time": 1, "event": "waiting"}\n{"time": 2, "event": ')
        file.flush()
        assert tail.read() == [{"time": 1, "event": "waiting"}]
        assert tail.read() == []
        file.write('"finished"}\n')
    assert tail.read() == [{"time": 2, "event": "finished"}]
