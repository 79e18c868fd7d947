"""Points side by side: each on cores of its own, as many as there are, and what they leave is what it would be."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.__main__ import main
from bench.config import RunConfig
from bench.plan.placement import Spot
from bench.record.folder import RunFolder
from bench.study.launcher.colocation import needs, placement
from bench.study.launcher.devices import VISIBLE
from bench.study.tracking.contract import Tracker
from bench.study.tracking.none import NoTracking
from bench.system.call import Call
from bench.system.pin import Pin
from tests.commands import BENCH, TINY, Command, await_that, command, read_json, tracked
from tests.tiny import config

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("without_pictures", "two_cores")]
ENDLESS = (*TINY, "epochs=20000", "runs_dir=runs", "launcher.parallel=auto")


@pytest.fixture
def two_cores() -> Iterator[set[int]]:
    """Two cores, which are all that this process and those that it starts may use."""
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("needs two cores")
    two = set(sorted(before)[:2])
    os.sched_setaffinity(0, two)
    yield two
    os.sched_setaffinity(0, before)


def test_a_process_keeps_to_what_it_is_given(two_cores: set[int]) -> None:
    core = max(two_cores)
    assert Call(os.sched_getaffinity, 0, pin=Pin((core,))).result() == {core}
    assert Call(os.sched_getaffinity, os.getpid(), pin=Pin((core,))).result() == two_cores
    assert Call(os.getenv, VISIBLE, pin=Pin(variables={VISIBLE: "1,GPU-7"})).result() == "1,GPU-7"


def test_runs_on_gpus_are_placed_on_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.study.launcher.devices._gpus", lambda: 3)
    runs = [config(device="cuda", stages=stages) for stages in (2, 2, 1)]
    for told, names in (("", ("0", "1", "2")), ("4, GPU-7,5", ("4", "GPU-7", "5"))):
        monkeypatch.setenv(VISIBLE, told)
        room = placement(runs, None)
        assert room.place(needs(runs)) == (0, Spot("cuda", names[:2]))
        assert room.place(needs(runs[1:])) == (1, Spot("cuda", names[2:]))


class Recorder(Tracker):
    """A tracker that notes what it is told, and how many runs were under way at most."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def start(self, config: RunConfig, folder: RunFolder) -> None:  # noqa: ARG002
        self.told.append(("start", config.hash()))

    def deliver(self, folder: RunFolder) -> bool:
        self.told.append(("deliver", folder.path.name))
        return True


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(NoTracking, "tracker", lambda _: recorder)
    return recorder


def _trained(running: Command, count: int) -> list[Path]:
    """Wait until so many runs have begun to train in all; their folders."""

    def found() -> list[Path]:
        assert running.process.poll() is None, running.stderr
        return [path.parent for path in running.folder.glob("runs/*/events.jsonl") if '"epoch"' in path.read_text()]

    await_that(lambda: len(found()) >= count, lambda: f"not {count} runs train; {running.stderr}")
    return found()


def _statuses(folder: Path) -> Counter[str]:
    """How many runs MLflow has of each status."""
    runs = tracked(f"sqlite:///{folder}/mlflow.db")
    return Counter(run.info.status for run in runs if "mlflow.parentRunId" in run.data.tags)


@pytest.mark.full
def test_a_point_that_fails_and_an_interruption_leave_what_they_should(two_cores: set[int], tmp_path: Path) -> None:
    """Each process has a core of its own; one that is killed is another's at once, and Ctrl-C ends the rest."""
    kept = ("tracking=mlflow", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", "engine=reference")
    with command([*BENCH, "-m", *ENDLESS, "seed=0,1,2,3", *kept], tmp_path) as running:
        for started in (2, 3):
            _trained(running, started)
            ranks = running.ranks()
            assert sorted(psutil.Process(rank).cpu_affinity() or [] for rank in ranks) == [
                [core] for core in sorted(two_cores)
            ]
            if started == 2:
                os.kill(killed := ranks[0], signal.SIGKILL)
        os.killpg(running.process.pid, signal.SIGINT)
        assert running.wait() == 130
        running.assert_gone()
    assert "Traceback" not in running.stderr
    assert running.stderr.splitlines()[-1] == "bench: interrupted"
    failures = [read_json(path) for path in tmp_path.glob("runs/*/failure.json")]
    assert Counter(each["status"] for each in failures) == {"failed": 1, "killed": 2}
    (message,) = [each["message"] for each in failures if each["status"] == "failed"]
    assert message == f"rank 0 (process {killed}) was killed by SIGKILL"
    assert _statuses(tmp_path) == {"FAILED": 1, "KILLED": 2}
    assert not list(tmp_path.glob("runs/*/record.json"))


@pytest.mark.full
def test_no_rank_of_any_point_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    with command([*BENCH, "-m", *ENDLESS, "seed=0,1,2", "stages=1"], tmp_path) as running:
        _trained(running, 2)
        assert len(running.ranks()) == 2
        running.process.kill()
        running.wait()
        running.assert_gone()


@pytest.mark.full
def test_a_run_that_goes_on_alone_has_had_company(tmp_path: Path) -> None:
    """Its seconds go on where they stood. The parent is killed, and the same points go on one after the other."""
    words = [*TINY, "-m", "seed=0,1", "engine=reference", "epochs=300", "checkpoint.every=1", "runs_dir=runs"]
    with command([*BENCH, *words, "launcher.parallel=auto"], tmp_path) as running:
        kept = tmp_path.glob
        await_that(lambda: len({path.parent for path in kept("runs/*/checkpoint/*.json")}) == 2, lambda: running.stderr)
        running.process.kill()
        running.assert_gone()
    with command([*BENCH, *words], tmp_path) as again:
        assert again.wait() == 0, again.stderr
    records = [read_json(path) for path in tmp_path.glob("runs/*/record.json")]
    assert [len(record["resumed"]) > 0 for record in records] == [True, True]
    assert [record["environment"].get("colocated") for record in records] == [True, True]


def _bits(folder: Path) -> dict[str, Any]:
    """What the runs in a folder have computed, by hash: each epoch's figures but those of time, and the weights."""
    found = {}
    for path in folder.glob("*/record.json"):
        epochs = [
            {key: value for key, value in epoch.items() if not key.startswith(("time/", "throughput/"))}
            for epoch in read_json(path)["epochs"]
        ]
        found[path.parent.name] = epochs, path.with_name("model.pt").read_bytes()
    return found


def test_side_by_side_or_not_the_records_are_the_same(tmp_path: Path, recorder: Recorder) -> None:
    """Two agents have both cores, and no company; four have to share these, and have none either."""
    words = [*TINY, "-m", "stages=1,2,4", "replicas=1", "seed=0,1", "engine=distributed", "max_steps=20"]
    assert main([*words, f"runs_dir={tmp_path}/apart"]) == 0
    apart = _bits(tmp_path / "apart")
    recorder.told.clear()
    assert main([*words, "launcher.parallel=auto", f"runs_dir={tmp_path}/beside"]) == 0
    assert _bits(tmp_path / "beside") == apart
    assert sorted(recorder.told) == sorted((word, name) for word in ("start", "deliver") for name in apart)
    records = [read_json(path) for path in tmp_path.glob("beside/*/record.json")]
    company = {(r["config"]["stages"], r["environment"].get("colocated", False)) for r in records}
    assert company == {(1, True), (2, False), (4, False)}
    for path in tmp_path.glob("apart/*/record.json"):
        assert "colocated" not in read_json(path)["environment"]


@pytest.mark.full
def test_oracles_run_side_by_side_too(tmp_path: Path, recorder: Recorder) -> None:
    words = [*TINY, "-m", "stages=2", "seed=0,1,2", "engine=reference"]
    assert main([*words, "launcher.parallel=2", f"runs_dir={tmp_path}/beside"]) == 0
    assert [word for word, _ in recorder.told[:2]] == ["start", "start"]
    assert main([*words, f"runs_dir={tmp_path}/apart"]) == 0
    assert _bits(tmp_path / "beside") == _bits(tmp_path / "apart")


def test_runs_that_are_to_be_alone_are(tmp_path: Path, recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TINY, "-m", "stages=1", "seed=0,1", "engine=reference", "alone=true", "launcher.parallel=auto"]
    assert main([*words, f"runs_dir={tmp_path}"]) == 0
    assert [word for word, _ in recorder.told] == ["start", "deliver"] * 2
    assert capsys.readouterr().err.count("bench: these runs are measured: each has its machine to itself\n") == 1
    assert not any("colocated" in read_json(path)["environment"] for path in tmp_path.glob("*/record.json"))
