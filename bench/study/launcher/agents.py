"""How the processes of a run start, and how they end.

Three ways behind one call: on this machine a process an agent, forked from the server that has torch; the oracle runs
in this process, where a debugger works; under ``torchrun`` this process already is an agent.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config import RunConfig
from bench.engine.rank import Job, RankKilled, RunFailed, Start, run_rank
from bench.engine.seat import Seat, seats, torchrun_seat
from bench.engine.stop import Paused
from bench.keys import ConfigError
from bench.record.checkpoints import NEVER, Checkpointing
from bench.record.folder import RunFolder
from bench.system.call import Call, Killed, results, temporary
from bench.system.leftovers import clear_left_behind
from bench.system.pin import Pin
from bench.system.signals import Interrupted, Stopped, is_announced, patient
from bench.task.data.contract import Data

if TYPE_CHECKING:
    from bench.task.cache import Stamp


class Pruned(RuntimeError):
    """Whoever watches a run has ended it: the message says why."""


def imports(configs: Iterable[RunConfig]) -> list[str]:
    """Modules that take a second to import, and that the ranks of these runs alone need."""
    found = set()
    for config in configs:
        oracle = "bench.engine.method.reference"
        found.add(oracle if config.engine == "reference" else config.method.worker.rpartition(".")[0])
        if config.partition == "counted":
            found.add("torch._dynamo")  # torch's counter of operations imports it when it sees the first one
    return sorted(found)


def vouch(data: Data, prepared: Path) -> Stamp:
    """Check the data's file for the ranks, who believe what has this stamp.

    Raises:
        ConfigError: it is damaged.
    """
    from bench.task.cache import stamp_of

    stamp = stamp_of(prepared)
    data.load(prepared)
    return stamp


def launch(
    config: RunConfig,
    prepared: Path | None,
    folder: RunFolder,
    known: dict[str, Any],
    watch: Callable[[], None] | None = None,
    pin: Pin | None = None,
    checkpoint: Checkpointing = NEVER,
) -> str | None:
    """Run the agents to the end; the run's folder holds the record then.

    Args:
        known: what the record holds beside what the agents find out.
        watch: called some times a second while they train. What it raises ends them, and is raised here. The oracle
            runs in a process of its own then.
        pin: what the processes keep to, those of the oracle too; None: what this one may use.
        checkpoint: when the run leaves a checkpoint; the newest one in its folder is gone on from.

    Returns:
        What could not be written beside the record, if there is such a thing.

    Raises:
        RunFailed: a rank failed.
        Stopped: the end was announced, and the run has stopped behind a checkpoint; no process is left.
        Interrupted: the end is wanted; no process is left.
    """
    job, oracle, seat = Job(config, prepared, folder, known, checkpoint), config.engine == "reference", torchrun_seat()
    try:
        with patient():
            if seat is not None or (oracle and watch is None and pin is None):
                return run_rank(job, Start(seat or Seat()))
            return _all_ranks(job, watch, pin)
    except Paused as paused:
        raise Stopped(str(paused)) from None


def _all_ranks(job: Job, watch: Callable[[], None] | None, pin: Pin | None) -> str | None:
    """Train in processes of their own, one a rank."""
    config, prepared = job.config, job.prepared
    with tempfile.TemporaryDirectory(dir=temporary()) as place:
        try:
            # The data's file may have been overwritten since the command began: looked at once for all ranks.
            stamp = Call(vouch, config.data, prepared, pin=pin).result() if prepared else None
            # They find each other by a file, and no port.
            starts = [Start(seat, Path(place, "store"), stamp) for seat in seats(config.processes)]
            ranks = (
                Call(run_rank, job, start, name=f"rank {start.seat.rank}", pin=pin, patient=True) for start in starts
            )
            problem: str | None = results(ranks, watch)[0]
        except Killed as error:
            if is_announced():
                # Whoever announces the end to all processes has hit one that did not listen yet.
                raise Interrupted from None
            raise RankKilled(str(error)) from None
        except ConfigError as error:
            raise RunFailed(str(error)) from None
        finally:
            clear_left_behind()
    return problem
