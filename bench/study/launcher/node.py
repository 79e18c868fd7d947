"""A run as a job of a cluster, on each of its nodes.

On one node the job starts its agents as a command does. On several each node starts its share of them by torch
elastic, whose rendezvous the first node holds, and each agent finds its place as under ``torchrun``.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

from bench.engine.rank import RankKilled, RunFailed
from bench.engine.seat import torchrun_seat
from bench.keys import ConfigError
from bench.study.launcher.agents import imports, launch
from bench.study.launcher.check import check
from bench.study.launcher.execution import execute
from bench.study.launcher.restarts import with_restarts
from bench.study.launcher.task import Task, label
from bench.system.call import warm_up
from bench.system.signals import ENDING, EXIT_STOPPED, Stopped, terminable

FIRST_PORT, PORTS = 20_000, 20_000
"""Ports that a job's nodes may meet at; which of them, its number says."""
MEETING_SECONDS = 300
"""Seconds that a node waits for the others."""


class Nodes(NamedTuple):
    """The nodes of a job, as one of them sees it."""

    size: int
    number: int
    """This node's, from 0 on."""
    agents: int
    """Agents of this node."""
    meeting: str
    """Host and port of the rendezvous."""
    job: str


def on_node(task: Task, agents_per_node: int | None = None) -> str | None:
    """Run a task, as a job; return the message of a failure that is the run's own.

    Where the end is announced, by a preemption or before a time limit, the run stops behind a checkpoint, and the job
    is put into the queue again.

    Args:
        agents_per_node: agents of a node; None: all of the run's.
    """
    nodes = _nodes(task.config.agents, agents_per_node)
    if task.config.engine == "distributed" and nodes.size == 1:
        warm_up(imports([task.config]))
    try:
        with _own_signals():
            ready = replace(task, prepared=check(task.config))
            if nodes.size == 1:
                execute(ready, nullcontext())
            else:
                _share(ready, nodes)
    except (RunFailed, ConfigError) as failure:
        return str(failure)
    except Stopped as stopped:
        print(stopped, file=sys.stderr, flush=True)
        if nodes.number == 0:
            _queue_again(nodes.job)
        # Not an error, and not an answer: the job has none yet.
        sys.exit(EXIT_STOPPED)
    return None


def _nodes(agents: int, agents_per_node: int | None) -> Nodes:
    """Ask submitit where this process is."""
    from submitit import JobEnvironment

    here = JobEnvironment()
    job, number = here.job_id, here.node
    each = agents if agents_per_node is None or here.num_nodes == 1 else agents_per_node
    # The node that SLURM starts the others from is the first one; names of nodes need not be known to the resolver.
    host = os.environ.get("SLURM_LAUNCH_NODE_IPADDR") or here.hostnames[0]
    port = FIRST_PORT + int("".join(re.findall(r"\d", job)) or 0) % PORTS
    return Nodes(here.num_nodes, number, max(0, min(each, agents - number * each)), f"{host}:{port}", job)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Handle signals as a command does, and not as submitit's jobs do."""
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)
    with terminable():
        yield


def _queue_again(job: str) -> None:
    """Put this job into the queue again, unless somebody has cancelled it."""
    asked = subprocess.run(
        ["squeue", "--noheader", "--format=%T", f"--jobs={job}"], capture_output=True, text=True, check=False
    )
    if asked.stdout.strip() == "RUNNING":
        subprocess.run(["scontrol", "requeue", job], check=False)


# ------------------------------------------------------------------------------------------------------- several nodes
def _share(task: Task, nodes: Nodes) -> None:
    """Train this node's share of a run.

    Raises:
        RunFailed: an agent of this node failed.
        Stopped: the end was announced, and the run has stopped behind a checkpoint.
    """
    told: list[str | None] = with_restarts(
        lambda: _elastic(task, nodes), task.folder, task.restarts, label(task.config), tells=nodes.number == 0
    )
    for stopped in filter(None, told):
        raise Stopped(stopped)


def _elastic(task: Task, nodes: Nodes) -> list[str | None]:
    """Start this node's agents, and wait for them; their answers."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousConnectionError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        nodes.size,
        nodes.size,
        nodes.agents,
        run_id=f"bench-{nodes.job}",
        rdzv_backend="c10d",
        rdzv_endpoint=nodes.meeting,
        rdzv_configs={"timeout": MEETING_SECONDS},
        max_restarts=0,
    )
    try:
        answers: dict[int, Any] = elastic_launch(config, seated)(task)
    except ChildFailedError as error:
        raise _failure(*error.get_first_failure()) from None
    except RendezvousConnectionError as error:
        # The node that the others meet at has ended first, by a failure that it tells itself.
        raise RankKilled(f"PeerLost: the node at {nodes.meeting} is gone: {str(error).splitlines()[0]}") from None
    return list(answers.values())


def _failure(rank: int, failure: Any) -> RunFailed:
    """The failure of a run that torch elastic tells of: of an agent that raised, was killed, or lost one that did."""
    told = failure.message
    message = str(told["message"] if isinstance(told, dict) else told).removeprefix("RunFailed: ").rstrip()
    if failure.exitcode < 0:
        return RankKilled(f"rank {rank} was killed by {signal.Signals(-failure.exitcode).name}")
    return (RankKilled if "PeerLost" in message else RunFailed)(message)


def seated(task: Task) -> str | None:
    """Train as one agent, which torch elastic has given its seat; return where it has stopped, if it has.

    Raises:
        RunFailed: it failed.
    """
    seat = torchrun_seat()
    assert seat is not None
    try:
        with _own_signals():
            if seat.rank == 0:
                execute(task, nullcontext())
            else:
                launch(task.config, task.prepared, task.folder, {}, checkpoint=task.checkpoint)
    except Stopped as stopped:
        return str(stopped)
    return None
