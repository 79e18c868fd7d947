"""How the processes of a run start, and how they end.

Three back ends behind one call: torch elastic starts a process an agent on this machine; the oracle runs in this
process, where a debugger works; under ``torchrun`` this process already is an agent.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.config import ConfigError, RunConfig
from bench.study.elsewhere import Call, Interrupted, Killed, end_with_parent
from bench.study.record import SCHEMA, RunFolder, describe_data, write_json_atomic

GRACE_SECONDS = 5.0
"""For which a rank that lost a peer waits to be ended, so that the peer's own failure is seen first."""


class RunFailed(RuntimeError):
    """A rank raised or was killed: the message names the first one, and holds its traceback."""


class Pruned(RuntimeError):
    """Whoever watches a run has ended it: the message says why."""


def under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def imports(configs: Iterable[RunConfig]) -> list[str]:
    """Modules that take a second to import, and that the ranks of these runs alone need."""
    found = set()
    for config in configs:
        if config.method != "decoupled":
            found.add("bench.engine.baselines")
        if config.partition == "counted":
            found.add("torch._dynamo")  # torch's counter of operations imports it when it sees the first one
    return sorted(found)


def launch(
    config: RunConfig,
    prepared: Path | None,
    folder: RunFolder,
    known: dict[str, Any],
    watch: Callable[[], None] | None = None,
) -> None:
    """Run the agents to the end; the run's folder holds the record then.

    Args:
        known: what the record holds beside what the agents find out.
        watch: called some times a second while they train. What it raises ends them, and is raised here. The oracle
            runs in a process of its own then.

    Raises:
        RunFailed: a rank failed.
        Interrupted: SIGINT or SIGTERM came; no process is left.
    """
    oracle = config.engine == "reference"
    if under_torchrun() or (oracle and watch is None):
        _here(config, prepared, folder, known)
    else:
        try:
            Call(_here if oracle else _elastic, config, prepared, folder, known).result(watch)
        except Killed as error:
            raise RunFailed(f"the launching {error}") from None


def _here(config: RunConfig, prepared: Path | None, folder: RunFolder, known: dict[str, Any]) -> None:
    from bench.engine.world import PeerLost

    try:
        _train(config, prepared, folder, known, None)
    except KeyboardInterrupt:
        raise Interrupted from None
    except PeerLost:
        time.sleep(GRACE_SECONDS)
        raise
    except Exception:
        rank = os.environ.get("RANK", "0")
        raise RunFailed(f"rank {rank} failed:\n{traceback.format_exc().rstrip()}") from None


def _elastic(config: RunConfig, prepared: Path | None, folder: RunFolder, known: dict[str, Any]) -> None:
    """Start the agents and wait for them, in a process that has torch."""
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Each of its modules has set a level of its own.
    for name in ("torch.multiprocessing", *filter(_is_elastic, logging.root.manager.loggerDict)):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    _check_data(config, prepared)
    with tempfile.TemporaryDirectory() as temporary:
        launch_config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=config.agents,
            run_id=config.hash(),
            rdzv_backend="c10d",
            rdzv_endpoint=str(Path(temporary, "rendezvous")),
            # Files instead of ports: nothing of a run on one machine listens on its network.
            rdzv_configs={"store_type": "file"},
            local_addr="127.0.0.1",
            # This process has torch already, and nothing that a fork would break, as long as no GPU is in use.
            start_method="fork" if config.device == "cpu" else "spawn",
            max_restarts=0,
            monitor_interval=0.1,
        )
        try:
            elastic_launch(launch_config, agent)(config, prepared, folder, known, Path(temporary, "store"))
        except SignalException:
            raise Interrupted from None
        except ChildFailedError as error:
            rank, failure = error.get_first_failure()
            if failure.exitcode == -signal.SIGINT:
                raise Interrupted from None
            raise RunFailed(_describe(rank, failure)) from None


def _check_data(config: RunConfig, prepared: Path | None) -> None:
    """Once for the agents that this process forks: the data's file may have been overwritten since the command began.

    Raises:
        RunFailed: it was.
    """
    from bench.task.sources import load

    if prepared:
        try:
            load(config.data, prepared)
        except ConfigError as error:
            raise RunFailed(str(error)) from None


def _is_elastic(name: str) -> bool:
    return name.startswith("torch.distributed.elastic")


def agent(
    config: RunConfig,
    prepared: Path | None,
    folder: RunFolder,
    known: dict[str, Any],
    store: Path,
) -> None:
    """What each process that elastic starts runs."""
    # At once, also inside a blocking wait for a message, where Python's own handler would not run.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    end_with_parent()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    from bench.engine.world import PeerLost

    try:
        _train(config, prepared, folder, known, store)
    except PeerLost:
        time.sleep(GRACE_SECONDS)
        raise


def _train(
    config: RunConfig, prepared: Path | None, folder: RunFolder, known: dict[str, Any], store: Path | None
) -> None:
    """Train as one rank; rank 0 writes what the run leaves, the record last."""
    import torch
    from torch.distributed import FileStore

    from bench.engine.train import train
    from bench.engine.world import joined
    from bench.study.timeline import chrome_trace
    from bench.task.sources import load

    started = datetime.now(UTC)
    dataset = load(config.data, prepared)
    with joined(config, FileStore(str(store), config.agents) if store and config.agents > 1 else None) as world:
        outcome = train(config, dataset, world, folder.append)
        if world.rank > 0:
            return
        gpu = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else None
        write_json_atomic(folder.timeline, chrome_trace(outcome.timelines))
        torch.save(outcome.state, folder.model)
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


def _describe(rank: int, failure: Any) -> str:
    """One message: the first rank that failed, and why."""
    if failure.exitcode < 0:
        return f"rank {rank} (process {failure.pid}) was killed by {signal.Signals(-failure.exitcode).name}"
    message = failure.message
    with suppress(OSError, ValueError, KeyError, TypeError):
        message = json.loads(Path(failure.error_file).read_text())["message"]["extraInfo"]["py_callstack"]
    return f"rank {rank} failed:\n{str(message).rstrip()}"
