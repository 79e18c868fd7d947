"""What is known of a cluster's jobs, without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from torch.distributed.elastic.rendezvous import RendezvousConnectionError

from bench.engine.rank import RankKilled
from bench.record.folder import RunFolder
from bench.study.launcher import submitit
from bench.study.launcher.jobs import JobFile, going_on, told_by
from bench.study.launcher.node import Nodes, _elastic
from bench.study.launcher.submitit import Submitit
from bench.study.launcher.task import Task
from bench.study.tracking.contract import Tracker
from tests.tiny import config

LOST = "rank 0 failed:\nbench.engine.world.PeerLost: rank 1 is gone"


def part(folder: Path, number: int, answer: object) -> Mock:
    """A job's part on one node; with no answer, it has ended without one."""
    result = folder / f"{number}_result.pkl"
    if answer is not ...:
        result.touch()
    found = Mock(job_id="7")
    found.paths.result_pickle, found.paths.stderr = result, folder / f"{number}.err"
    found.exception.return_value, found.result.return_value = None, answer
    return found


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([None], None),
        ([None, None], None),
        (["rank 0 failed: sprung"], "rank 0 failed: sprung"),
        # Who has lost another node's agent knows no more; who has failed by itself says why, wherever it is.
        ([LOST, "rank 1 failed: sprung"], "rank 1 failed: sprung"),
        ([LOST, ...], LOST),
        ([...], "job 7 has ended as TIMEOUT: the end of its log\nout of memory"),
        ([None, ...], "job 7 has ended as TIMEOUT: the end of its log\nout of memory"),
    ],
)
def test_what_a_job_says_of_its_run(answers: list[object], message: str | None, tmp_path: Path) -> None:
    parts = [part(tmp_path, number, answer) for number, answer in enumerate(answers)]
    parts[-1].paths.stderr.write_text("out of memory\n")
    job = Mock(job_id="7", num_tasks=len(parts), task=lambda number: parts[number])
    assert told_by(job, "TIMEOUT") == message


def test_which_jobs_go_on() -> None:
    """One that SLURM has forgotten has ended; one that it cannot be asked about may not have."""
    jobs = [Mock(job_id=number) for number in ("1", "2", "3_0", "4")]
    known = {"1": "RUNNING", "2": "TIMEOUT", "3_0": "PENDING"}
    assert going_on(jobs, known) == {"1", "3_0"}
    assert going_on(jobs, None) == {"1", "2", "3_0", "4"}


@pytest.mark.parametrize(
    ("known", "followed"), [(None, True), ({"7": "PENDING"}, True), ({"7": "FAILED"}, False), ({}, False)]
)
def test_a_job_that_may_go_on_is_not_started_again(
    known: dict[str, str] | None, followed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor where SLURM does not answer: two jobs would be at one run."""
    monkeypatch.setattr(submitit, "states", lambda: known)
    task = Task(config(), None, Mock(), RunFolder(tmp_path / "runs" / "abc"), False, 1, 1)
    other = Task(config(), None, Mock(), RunFolder(tmp_path / "runs" / "def"), False, 1, 1)
    JobFile.of(task.folder).write("7", 1)
    waiting, running = [task, other], dict[object, Task]()
    launcher = Submitit("slurm", 5, 1, 0, None, None, False, None, {})
    launcher._adopt(waiting, Tracker(), running)
    assert list(running.values()) == [task] * followed
    assert waiting == ([other] if followed else [task, other])


def test_a_node_that_outlives_the_meeting_place_has_lost_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's store is the first node's; where that ended first, this node's word once hid why."""

    def launched(*_: object) -> Any:
        def wait(_: Task) -> Any:
            raise RendezvousConnectionError("The connection to the C10d store has failed.\nSee inner exception.")

        return wait

    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", launched)
    with pytest.raises(RankKilled, match=r"^PeerLost: the node at n0:20001 is gone: The connection to the C10d store"):
        _elastic(Mock(spec=Task), Nodes(2, 1, 1, "n0:20001", "1"))
