"""One rank: trains as one agent, and the first of them writes what the run leaves."""

from __future__ import annotations

import io
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.config import RunConfig
from bench.engine.seat import Seat
from bench.engine.stop import Paused
from bench.keys import ConfigError
from bench.record.checkpoints import NEVER, Checkpointing
from bench.record.folder import SCHEMA, RunFolder
from bench.record.tail import Tail
from bench.system.file import WriteError, write_atomic, write_json_atomic
from bench.system.wording import in_a_line

if TYPE_CHECKING:
    from torch import Tensor

    from bench.task.cache import Stamp


GRACE_SECONDS = 5.0
"""Seconds for which a rank that lost a peer waits to be ended, so that the peer's own failure is seen first."""


RESUMED = ("step", "time")
"""What a record says of each time that the run was resumed."""


class RunFailed(RuntimeError):
    """A rank raised or was killed: the message names the first one, and holds its traceback."""


class RankKilled(RunFailed):
    """A rank was ended by force, or by itself without a word."""


class Job(NamedTuple):
    """A run, as :func:`launch` takes it."""

    config: RunConfig
    prepared: Path | None
    folder: RunFolder
    known: dict[str, Any]
    checkpoint: Checkpointing = NEVER


class Start(NamedTuple):
    """What a rank is told by who starts it."""

    seat: Seat
    store: Path | None = None
    """A file by which the ranks find each other."""
    stamp: Stamp | None = None
    """The stamp of the data's file, where that was checked for the ranks."""


def run_rank(job: Job, start: Start) -> str | None:
    """Train as one rank.

    Raises:
        RunFailed: it failed.
        Paused: the end was announced, and the run goes on from a checkpoint.
    """
    from bench.engine.world import PeerLost

    try:
        return _trained(job, start)
    except Paused:
        raise
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

    from bench.engine.checkpoint import Place
    from bench.engine.train import train
    from bench.engine.world import joined
    from bench.record.trace import chrome_trace
    from bench.task.cache import believe

    config, prepared, folder, known, checkpoint = job
    seat, started = start.seat, datetime.now(UTC)
    if prepared and start.stamp:
        believe(prepared, start.stamp)
    dataset = config.dataset(prepared)
    store = FileStore(str(start.store), seat.size) if start.store else None

    def show(timelines: Sequence[Mapping[str, Any]]) -> None:
        with suppress(Exception):  # what keeps it from being written is told at the end
            write_json_atomic(folder.timeline, chrome_trace(timelines))

    with joined(config, seat, store) as world:
        outcome = train(config, dataset, world, folder.append, Place(folder.checkpoints, checkpoint), show)
        if world.rank > 0:
            if outcome.checkpointed:
                world.barrier()  # not before the record is there
                folder.checkpoints.keep((), world.rank)
            return None
        gpu = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else None
        write_atomic(folder.model, _file_of(outcome.state))
        past = Tail(folder).read() if outcome.resumed else []
        folder.append({"event": "finished", "status": outcome.status})
        folder.write_record(
            {
                "schema": SCHEMA,
                "status": outcome.status,
                "config": config.resolved(),
                "config_hash": config.hash(),
                "started": _begun(past, started).isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                **known,
                "environment": known.get("environment", {}) | {"gpu": gpu},
                "task": dataset.judgement.told(),
                "data": {"name": config.data.name, **dataset.describe()},
                "partition": outcome.partition,
                "metrics": outcome.metrics | known.get("metrics", {}),
                "epochs": outcome.epochs,
                "agents": outcome.agents,
                "resumed": [{key: event[key] for key in RESUMED} for event in past if event["event"] == "resumed"],
            }
        )
        if outcome.checkpointed:
            world.barrier()
        folder.checkpoints.clear()
    try:
        write_json_atomic(folder.timeline, chrome_trace(outcome.timelines))
    except Exception as error:  # whatever it is, the run has its result
        return f"no trace of it: {in_a_line(error)}"
    return None


def _begun(past: list[dict[str, Any]], started: datetime) -> datetime:
    """When a run began, maybe before it was resumed: by its first event, or else when this process started."""
    return datetime.fromtimestamp(past[0]["time"], UTC) if past else started


def _file_of(state: dict[str, Tensor]) -> bytes:
    """The bytes that ``torch.load`` reads; torch itself would tell a full disk in words of its own."""
    import torch

    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()
