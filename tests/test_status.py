"""``python -m bench status``: where runs stand, as their folders say."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.config import RunConfig
from bench.record.folder import RunFolder
from bench.record.records_file import RecordsFile
from bench.record.state import BY_FORCE, RunState, state_of
from bench.study.sweep.compose import points
from tests.commands import BENCH, TINY, await_that, command, said
from tests.records import keep_records, record_of
from tests.tiny import config


def begin(runs_dir: Path, run: RunConfig, *, steps: int = 440, epochs: int = 20) -> RunFolder:
    """The folder of a run whose agents have started."""
    folder = RunFolder(runs_dir / run.hash())
    folder.clear()
    folder.begin(run.resolved())
    folder.append({"event": "started", "steps": steps, "epochs": epochs})
    return folder


@contextmanager
def held(folder: RunFolder) -> Iterator[None]:
    """A file that is opened once more has locks of its own, as if by another process."""
    with folder.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def line_of(run: RunConfig) -> str:
    return f"K{run.stages} S{run.replicas} c{run.canonical()['staleness']} {run.hash()}"


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["status", *words]) == 0
    answer = capsys.readouterr()
    assert answer.err == ""
    return answer.out.splitlines()


def test_all_kinds_of_runs_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """440 updates of 4 images each: the 380 that are left take 152 s at 10 images a second."""
    runs = [config(seed=seed, stages=2, staleness=2) for seed in range(6)]
    failed, killed, pruned, forced, running, starting = (begin(tmp_path, run) for run in runs)
    failed.write_failure("rank 1 failed:\nTraceback (most recent call last):\nRuntimeError: no memory", "failed")
    killed.write_failure("interrupted", "killed")
    pruned.write_failure("pruned after epoch 2 of 3: accuracy 10.0% is below the median", "pruned")
    forced.append({"event": "progress", "epoch": 0, "step": 7, "images_per_second": 10.0})
    running.append({"event": "progress", "epoch": 2, "step": 60, "images_per_second": 10.0})
    starting.events_file.write_text(starting.events_file.read_text().splitlines(keepends=True)[0])
    done, diverged = (record_of(config(seed=seed), accuracies=[accuracy]) for seed, accuracy in ((6, 0.9), (7, None)))
    keep_records(tmp_path, done, diverged)
    (tmp_path / "smoothness").mkdir()
    with held(running), held(starting):
        lines = asked(capsys, f"runs_dir={tmp_path}")
    assert sorted(lines[:2]) == sorted(
        [
            f"running {line_of(runs[4])} · epoch 3/20 · update 60/440 (14%) · 10 img/s · about 0:02:32 left",
            f"running {line_of(runs[5])} · starts",
        ]
    )
    assert lines[2:] == [
        f"failed  {line_of(runs[0])} · rank 1 failed: RuntimeError: no memory",
        *sorted([f"killed  {line_of(runs[1])} · interrupted", f"killed  {line_of(runs[3])} · {BY_FORCE}"], key=_hash),
        f"pruned  {line_of(runs[2])} · pruned after epoch 2 of 3: accuracy 10.0% is below the median",
        "1 done, 1 diverged, 2 running, 1 failed, 2 killed, 1 pruned",
    ]


def _hash(line: str) -> str:
    return line.split()[4]


def test_a_run_that_says_nothing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = begin(tmp_path, config())
    folder.append({"event": "progress", "time": time.time() - 7300, "epoch": 0, "step": 44, "images_per_second": None})
    with held(folder):
        (line, _) = asked(capsys, f"runs_dir={tmp_path}")
    assert line.startswith(f"running {line_of(config())} · epoch 1/20 · update 44/440 (10%) · silent for 2:0")


def test_a_run_that_goes_on_from_a_checkpoint_is_where_it_went_on(tmp_path: Path) -> None:
    folder = begin(tmp_path, config())
    folder.append({"event": "progress", "epoch": 9, "step": 200, "images_per_second": 5.0})
    folder.append({"event": "resumed", "step": 44, "time": 9.0})
    with held(folder):
        state = state_of(folder)
    assert state is not None
    assert (state.standing, state.step, state.last) == ("running", 44, 9.0)


def test_a_long_log_is_read_at_its_ends(tmp_path: Path) -> None:
    """What lies between is not even looked at."""
    folder = begin(tmp_path, config())
    with folder.events_file.open("ab") as file:
        file.write(b"this is no event\n" * 100_000)
    folder.append({"event": "progress", "epoch": 9, "step": 200, "images_per_second": 5.0})
    with held(folder):
        state = state_of(folder)
    assert state is not None
    assert (state.steps, state.step, state.seconds_left) == (440, 200, 240 * 4 / 5)


def test_where_nothing_has_begun_there_is_nothing(tmp_path: Path) -> None:
    assert state_of(RunFolder(tmp_path / "nowhere")) is None
    RunFolder(tmp_path / "empty").clear()
    assert state_of(RunFolder(tmp_path / "empty")) is None


def test_a_run_of_an_older_version_is_told_by_its_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its log does not say what it is of."""
    folder = RunFolder(tmp_path / "0123456789ab")
    folder.clear()
    folder.write_failure("out of memory", "failed")
    assert asked(capsys, f"runs_dir={tmp_path}") == ["failed 0123456789ab · out of memory", "1 failed"]


def test_what_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep_records(tmp_path, record_of(config()))
    odd = RunFolder(tmp_path / "odd")
    odd.clear()
    odd.failure.write_text("[]")
    assert main(["status", f"runs_dir={tmp_path}"]) == 0
    answer = capsys.readouterr()
    assert answer.out == "1 done\n"
    assert answer.err.startswith(f"passed over: {odd.failure}: ")


def test_where_there_are_no_runs_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", f"runs_dir={tmp_path}"]) == 2
    assert capsys.readouterr().err == f"bench: runs_dir='{tmp_path}': holds no runs\n"


@pytest.mark.parametrize("words", [[], ["runs_dir=./runs"], ["runs_dir='runs'"], ["runs_dir=runs", "tracking=none"]])
def test_a_folder_is_the_same_however_it_is_named(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is, whether Hydra is asked or not."""
    monkeypatch.chdir(tmp_path)
    keep_records(tmp_path / "runs", record_of(config()))
    assert asked(capsys, *words) == ["1 done"]


def test_of_a_sweep_what_is_to_do_is_told_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the file of records has is done; other runs of the folder are not its points'."""
    words = [*TINY, "-m", "seed=0,1,2,3", f"runs_dir={tmp_path}/runs", f"records={tmp_path}/records.jsonl"]
    first, second, third, last = [point.config for point in points([word for word in words if word != "-m"], True)]
    begin(tmp_path / "runs", second).write_failure("out of memory", "failed")
    keep_records(tmp_path / "runs", record_of(first), record_of(config(seed=77)))
    RecordsFile(tmp_path / "records.jsonl").keep(record_of(third))
    assert asked(capsys, *words) == [
        f"failed {line_of(second)} · out of memory",
        f"to do  {line_of(last)} · seed=3",
        "2 done, 1 failed, 1 to do",
    ]


def test_a_real_run_is_followed_to_its_end(tmp_path: Path) -> None:
    """Another process is at it, until that is killed by force."""
    words = [*BENCH, *TINY, "engine=reference", "epochs=20000"]
    with command(words, tmp_path) as running:
        await_that(lambda: _state(tmp_path).step, lambda: running.stderr)
        state = _state(tmp_path)
        assert (state.standing, state.epochs, state.steps) == ("running", 20_000, 320_000)
        answer = said(tmp_path, "status")
        assert answer.out.startswith("running K2 S1 c2 ")
        assert answer.out.endswith(" left\n1 running\n")
        running.end()
        assert _state(tmp_path).message == BY_FORCE
        assert said(tmp_path, "status").out.endswith(f" · {BY_FORCE}\n1 killed\n")


def _state(folder: Path) -> RunState:
    """Where the only run stands, if it has begun."""
    found = [state for path in folder.glob("runs/*") if (state := state_of(RunFolder(path)))]
    return found[0] if found else RunState("running")
