"""Sweeps as jobs of a real SLURM: Debian's, with two nodes that are both this machine."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.commands import BENCH, LONG, TINY, Command, await_that, command, read_json, said
from tests.slurm.cluster import cluster, missing

pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(missing()), reason=f"SLURM is not installed here: {', '.join(missing())}"),
]
JOBS = (
    *BENCH,
    "-m",
    *(word for word in TINY if word != "tracking=none"),
    "tracking=mlflow",
    "tracking.uri=sqlite:///mlflow.db",
    "runs_dir=runs",
    "launcher=submitit",
    "launcher.minutes=5",
    "launcher.memory_gigabytes=1",
)
LONGER = ("epochs=300", "checkpoint.every=10")
TRAP = """
import math, os, sys

square_root = math.sqrt

def trap(value):
    if os.environ.get("RANK") == "1" and sys._getframe(1).f_code.co_filename.endswith("engine/train.py"):
        raise ArithmeticError("sprung")
    return square_root(value)

math.sqrt = trap
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with cluster(tmp_path_factory.mktemp("slurm")) as variables:
        yield {**variables, "GLOO_SOCKET_IFNAME": "lo"}


@pytest.fixture(autouse=True)
def _none_left(slurm: dict[str, str]) -> Iterator[None]:
    yield
    for job in jobs(slurm):
        ask(slurm, "scancel", job)
    await_that(lambda: not jobs(slurm), lambda: f"{jobs(slurm)} go on")


def ask(slurm: dict[str, str], *words: str) -> str:
    """What one of SLURM's programs answers."""
    return subprocess.run(words, env={**os.environ, **slurm}, capture_output=True, text=True, check=True).stdout


def jobs(slurm: dict[str, str]) -> dict[str, str]:
    """SLURM's word for each job that goes on, by number."""
    lines = ask(slurm, "squeue", "--noheader", "--array", "--format=%i|%T").split()
    return dict(line.split("|") for line in lines)


def records(folder: Path) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted(folder.glob("runs/*/record.json"))]


def trains(folder: Path, running: Command, epochs: int = 1) -> None:
    """Wait until a run has told of so many epochs."""

    def told() -> bool:
        assert running.process.poll() is None, running.stderr
        files = folder.glob("runs/*/events.jsonl")
        return any(path.read_text().count('"event": "epoch"') >= epochs for path in files)

    await_that(told, lambda: f"nothing trains; {running.stderr}")


def whole(folder: Path, *words: str) -> dict[str, Any]:
    """The model of the same run, made here and never stopped."""
    assert said(folder, *TINY, *words, "runs_dir=runs", "engine=reference").code == 0
    (path,) = folder.glob("runs/*/model.pt")
    model: dict[str, Any] = torch.load(path, weights_only=True)
    return model


def assert_same_model(folder: Path, expected: dict[str, Any]) -> None:
    (path,) = folder.glob("runs/*/model.pt")
    model = torch.load(path, weights_only=True)
    assert [name for name, tensor in model.items() if not torch.equal(tensor, expected[name])] == []


@pytest.mark.parametrize("array", ["false", "true"])
def test_a_sweep_of_four_points_of_which_one_takes_two_nodes(array: str, slurm: dict[str, str], tmp_path: Path) -> None:
    points = (
        "stages=1,2",
        "replicas=1,2",
        "launcher.agents_per_node=3",
        "launcher.parallel=3",
        f"launcher.array={array}",
    )
    with command([*JOBS, *points], tmp_path, **slurm) as running:
        assert running.wait() == 0, running.stderr
    made = records(tmp_path)
    assert sorted((record["config"]["stages"], record["config"]["replicas"]) for record in made) == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert not list(tmp_path.glob("runs/jobs/*.json"))
    assert "| done" in running.stdout


def test_a_rank_that_fails_on_another_node_is_told(slurm: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(TRAP)
    words = [*JOBS, "seed=0,1", "launcher.agents_per_node=1"]
    with command(words, tmp_path, PYTHONPATH=str(tmp_path), **slurm) as running:
        assert running.wait() == 1, running.stderr
    lines = [line for line in running.stderr.splitlines() if line.startswith("failed: ")]
    assert len(lines) == 2
    assert all(line.endswith("ArithmeticError: sprung") for line in lines), lines


def test_a_login_that_drops_leaves_its_jobs_to_the_next_command(slurm: dict[str, str], tmp_path: Path) -> None:
    """By force, and then by a line that hangs up."""
    words = [*JOBS, *LONGER, "seed=0"]
    with command(words, tmp_path, **slurm) as running:
        trains(tmp_path, running)
        running.process.kill()
        running.wait()
    (job,) = jobs(slurm)
    with command(words, tmp_path, **slurm) as running:
        await_that(lambda: f"job {job} is at it, and is followed" in running.stderr, lambda: running.stderr)
        running.process.send_signal(signal.SIGHUP)
        assert running.wait() == 130
    assert f"its job {job} goes on; the same command follows it" in running.stderr
    assert list(jobs(slurm)) == [job]
    with command(words, tmp_path, **slurm) as running:
        assert running.wait(LONG) == 0, running.stderr
    (record,) = records(tmp_path)
    assert record.get("resumed", []) == []
    assert list(tmp_path.glob("runs/jobs/*_submission.sh")) == [tmp_path / "runs" / "jobs" / f"{job}_submission.sh"]


def test_ctrl_c_cancels_the_jobs(slurm: dict[str, str], tmp_path: Path) -> None:
    with command([*JOBS, *LONGER, "epochs=100000", "seed=0,1"], tmp_path, **slurm) as running:
        trains(tmp_path, running)
        running.process.send_signal(signal.SIGINT)
        assert running.wait() == 130
    await_that(lambda: not jobs(slurm), lambda: f"{jobs(slurm)} go on")
    assert not list(tmp_path.glob("runs/jobs/*.json"))


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_job_that_is_preempted_goes_on_from_a_checkpoint(nodes: int, slurm: dict[str, str], tmp_path: Path) -> None:
    """Whoever has more right to the nodes takes them for a while; the run is, bit by bit, what it is without."""
    words = [*JOBS, "epochs=300", "seed=0", f"launcher.agents_per_node={2 // nodes}", "launcher.slurm_partition=low"]
    with command(words, tmp_path / "jobs", **slurm) as running:
        trains(tmp_path / "jobs", running, 5)
        (job,) = jobs(slurm)
        more = ["sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 3"]
        ask(slurm, *more)
        await_that(lambda: jobs(slurm).get(job) == "PENDING", lambda: f"{jobs(slurm)}; {running.stderr}")
        assert running.wait(LONG) == 0, running.stderr
    (record,) = records(tmp_path / "jobs")
    assert len(record["resumed"]) == 1
    assert_same_model(tmp_path / "jobs", whole(tmp_path / "here", "epochs=300"))


def test_a_job_that_comes_to_its_time_limit_goes_on_from_a_checkpoint(slurm: dict[str, str], tmp_path: Path) -> None:
    """Its limit is a minute, of which it is told some seconds before."""
    words = [*JOBS, "epochs=100000", "seed=0", "launcher.minutes=1", "+launcher.additional.signal=USR2@10"]
    with command(words, tmp_path, **slurm) as running:
        trains(tmp_path, running)
        (job,) = jobs(slurm)
        (events,) = tmp_path.glob("runs/*/events.jsonl")
        await_that(lambda: '"event": "resumed"' in events.read_text(), lambda: f"{jobs(slurm)}; {running.stderr}")
        assert list(jobs(slurm)) == [job]
        running.process.send_signal(signal.SIGINT)
        assert running.wait() == 130
