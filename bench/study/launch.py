"""How the processes of a run start, and how they end.

Three ways behind one call: on this machine a process an agent, forked from the server that has torch; the oracle runs
in this process, where a debugger works; under ``torchrun`` this process already is an agent.
"""

from __future__ import annotations

import io
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.config import ConfigError, Data, RunConfig
from bench.engine.leftovers import clear_left_behind
from bench.engine.seat import Seat, seats, torchrun_seat
from bench.study.elsewhere import Call, Killed, results, temporary
from bench.study.figure import in_a_line
from bench.study.record import SCHEMA, RunFolder, WriteError, describe_data, write_atomic, write_json_atomic

if TYPE_CHECKING:
    from torch import Tensor

    from bench.task.cache import Stamp

GRACE_SECONDS = 5.0
"""Seconds for which a rank that lost a peer waits to be ended, so that the peer's own failure is seen first."""


class RunFailed(RuntimeError):
    """A rank raised or was killed: the message names the first one, and holds its traceback."""


class Job(NamedTuple):
    """A run, as :func:`launch` takes it."""

    config: RunConfig
    prepared: Path | None
    folder: RunFolder
    known: dict[str, Any]


class Start(NamedTuple):
    """What a rank is told by who starts it."""

    seat: Seat
    store: Path | None = None
    """A file by which the ranks find each other."""
    stamp: Stamp | None = None
    """The stamp of the data's file, where that was checked for the ranks."""


class Pruned(RuntimeError):
    """Whoever watches a run has ended it: the message says why."""


def under_torchrun() -> bool:
    return torchrun_seat() is not None


def imports(configs: Iterable[RunConfig]) -> list[str]:
    """Modules that take a second to import, and that the ranks of these runs alone need."""
    found = set()
    for config in configs:
        if config.method != "decoupled":
            found.add("bench.engine.baselines")
        if config.partition == "counted":
            found.add("torch._dynamo")  # torch's counter of operations imports it when it sees the first one
    return sorted(found)


def vouch(data: Data, prepared: Path) -> Stamp:
    """Check the data's file for the ranks, who believe what has this stamp.

    Raises:
        ConfigError: it is damaged.
    """
    from bench.task.cache import stamp_of
    from bench.task.sources import load

    stamp = stamp_of(prepared)
    load(data, prepared)
    return stamp


def launch(
    config: RunConfig,
    prepared: Path | None,
    folder: RunFolder,
    known: dict[str, Any],
    watch: Callable[[], None] | None = None,
) -> str | None:
    """Run the agents to the end; the run's folder holds the record then.

    Args:
        known: what the record holds beside what the agents find out.
        watch: called some times a second while they train. What it raises ends them, and is raised here. The oracle
            runs in a process of its own then.

    Returns:
        What could not be written beside the record, if there is such a thing.

    Raises:
        RunFailed: a rank failed.
        Interrupted: the end is wanted; no process is left.
    """
    job, oracle, seat = Job(config, prepared, folder, known), config.engine == "reference", torchrun_seat()
    if seat is not None or (oracle and watch is None):
        return _train(job, Start(seat or Seat()))
    with tempfile.TemporaryDirectory(dir=temporary()) as place:
        try:
            # The data's file may have been overwritten since the command began: looked at once for all ranks.
            stamp = Call(vouch, config.data, prepared).result() if prepared else None
            # They find each other by a file, and no port.
            starts = [Start(seat, Path(place, "store"), stamp) for seat in seats(1 if oracle else config.agents)]
            ranks = (Call(_train, job, start, name=f"rank {start.seat.rank}") for start in starts)
            problem: str | None = results(ranks, watch)[0]
        except (Killed, ConfigError) as error:
            raise RunFailed(str(error)) from None
        finally:
            clear_left_behind()
    return problem


def _train(job: Job, start: Start) -> str | None:
    """Train as one rank.

    Raises:
        RunFailed: it failed.
    """
    from bench.engine.world import PeerLost

    try:
        return _trained(job, start)
    except (WriteError, ConfigError) as error:
        raise RunFailed(f"rank {start.seat.rank} failed: {error}") from None
    except Exception as error:
        message = f"rank {start.seat.rank} failed:\n{traceback.format_exc().rstrip()}"
        if isinstance(error, PeerLost):
            time.sleep(GRACE_SECONDS)
        raise RunFailed(message) from None


def _trained(job: Job, start: Start) -> str | None:
    """Train; rank 0 writes what the run leaves, the record last, and then what only illustrates it."""
    import torch
    from torch.distributed import FileStore

    from bench.engine.train import train
    from bench.engine.world import joined
    from bench.study.timeline import chrome_trace
    from bench.task.cache import believe
    from bench.task.sources import load

    config, prepared, folder, known = job
    seat, started = start.seat, datetime.now(UTC)
    if prepared and start.stamp:
        believe(prepared, start.stamp)
    dataset = load(config.data, prepared)
    store = FileStore(str(start.store), seat.size) if start.store else None
    with joined(config, seat, store) as world:
        outcome = train(config, dataset, world, folder.append)
        if world.rank > 0:
            return None
        gpu = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else None
        write_atomic(folder.model, _file_of(outcome.state))
        folder.append({"event": "finished", "status": outcome.status})
        folder.write_record(
            {
                "schema": SCHEMA,
                "status": outcome.status,
                "config": config.resolved(),
                "config_hash": config.hash(),
                "started": started.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                **known,
                "environment": known.get("environment", {}) | {"gpu": gpu},
                "data": describe_data(config.data.name, dataset),
                "partition": outcome.partition,
                "metrics": outcome.metrics | known.get("metrics", {}),
                "epochs": outcome.epochs,
                "agents": outcome.agents,
            }
        )
    try:
        write_json_atomic(folder.timeline, chrome_trace(outcome.timelines))
    except Exception as error:  # whatever it is, the run has its result
        return f"no trace of it: {in_a_line(error)}"
    return None


def _file_of(state: dict[str, Tensor]) -> bytes:
    """The bytes that ``torch.load`` reads; torch itself would tell a full disk in words of its own."""
    import torch

    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()
