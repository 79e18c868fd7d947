"""The same run started in three ways: by torchrun as if on two machines, by this suite, and as the oracle."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.commands import TINY, Command, await_that, command, read_json, said

RUN = (*TINY, "stages=2", "staleness=2")
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}

pytestmark = pytest.mark.timeout(600)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _torchrun(port: int) -> list[str]:
    where = [
        f"--rdzv-endpoint=127.0.0.1:{port}",
        "--rdzv-backend=c10d",
        "--rdzv-id=two-nodes",
        "--local-addr=127.0.0.1",
    ]
    return [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", *where, "-m", "bench"]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder with ``two_nodes/`` and ``here/``, which are trained at the same time."""
    folder = tmp_path_factory.mktemp("started")
    torchrun = _torchrun(_free_port())
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(command([*torchrun, *RUN, f"runs_dir={folder}/two_nodes"], folder / name, **LOOPBACK))
            for name in ("first", "second")
        ]
        here = said(folder, "-m", *RUN, f"runs_dir={folder}/here", "engine=distributed,reference")
        assert here.code == 0, here.err
        for running in nodes:
            assert running.wait() == 0, running.stderr
            running.assert_gone()
        yield folder


def _runs(runs_dir: Path) -> dict[str, Path]:
    """The folder of each run, by its engine."""
    return {read_json(path)["config"]["engine"]: path.parent for path in runs_dir.glob("*/record.json")}


def test_two_nodes_train_what_one_trains_and_what_the_oracle_computes(started: Path) -> None:
    here, two_nodes = _runs(started / "here"), _runs(started / "two_nodes")
    assert set(here) == {"distributed", "reference"}
    expected = torch.load(here["reference"] / "model.pt")
    assert torch.float64 in {tensor.dtype for tensor in expected.values()}
    for folder in (two_nodes["distributed"], here["distributed"]):
        weights = torch.load(folder / "model.pt")
        assert weights.keys() == expected.keys()
        assert [name for name in expected if not torch.equal(weights[name], expected[name])] == []


def test_two_nodes_leave_one_complete_record(started: Path) -> None:
    (folder,) = _runs(started / "two_nodes").values()
    record = read_json(folder / "record.json")
    same = read_json(_runs(started / "here")["distributed"] / "record.json")
    assert folder.name == same["config_hash"]
    assert _shape(record) == _shape(same)
    assert record["status"] == "done"
    assert [agent["rank"] for agent in record["agents"]] == [0, 1]
    for name in ("loss/train", "loss/test", "accuracy/test"):
        assert record["metrics"][name] == same["metrics"][name]
    assert {path.name for path in folder.iterdir()} >= {"events.jsonl", "timeline.json", "timeline.png", "model.pt"}


def test_one_node_alone_reports(started: Path) -> None:
    """Rank 0 shows the table and the progress; the other node's terminal stays empty."""
    tables = [(started / name / "stdout").read_text().count("| done ") for name in ("first", "second")]
    assert sorted(tables) == [0, 1]


def _shape(value: Any) -> Any:
    """A value with all its keys, without the values."""
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    return [_shape(item) for item in value] if isinstance(value, list) else None


def _killed_once(nodes: list[Command], folder: Path) -> dict[str, Any]:
    """Kill a rank of the last node once there is a checkpoint; what the run has left."""
    await_that(lambda: [*folder.glob("*/checkpoint/*.json")], lambda: nodes[-1].stderr)
    # torchrun puts its ranks into sessions of their own.
    ranks = [rank for node in nodes for rank in psutil.Process(node.process.pid).children()]
    try:
        ranks[-1].kill()
        for node in nodes:
            assert node.wait() == 0, node.stderr
    finally:
        for rank in psutil.Process().children(recursive=True):
            if rank in ranks:
                rank.kill()
    (path,) = folder.glob("*/record.json")
    record: dict[str, Any] = read_json(path)
    assert len(record["resumed"]) == 1
    return record


@pytest.mark.full
def test_ranks_that_torchrun_starts_again_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    """They once looked for each other at the addresses of the ranks before them, in the store that torchrun keeps."""
    how = ["--standalone", "--nproc-per-node=2", "--max-restarts=1", "-m", "bench"]
    words = [sys.executable, "-m", "torch.distributed.run", *how, *RUN, "epochs=300", "checkpoint.every=5"]
    with command([*words, f"runs_dir={tmp_path}/runs"], tmp_path, **LOOPBACK) as running:
        record = _killed_once([running], tmp_path / "runs")
    assert [epoch["epoch"] for epoch in record["epochs"]] == list(range(300))


@pytest.mark.full
def test_ranks_of_two_nodes_that_torchrun_starts_again_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    """Torch elastic counts on each node by itself how often it has started them."""
    torchrun = _torchrun(_free_port())
    at = torchrun.index("-m", torchrun.index("-m") + 1)
    words = [*torchrun[:at], "--max-restarts=2", *torchrun[at:], *RUN, "epochs=300", "checkpoint.every=5"]
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(command([*words, f"runs_dir={tmp_path}/runs"], tmp_path / name, **LOOPBACK))
            for name in ("first", "second")
        ]
        record = _killed_once(nodes, tmp_path / "runs")
    assert [epoch["epoch"] for epoch in record["epochs"]] == list(range(300))
