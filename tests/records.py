"""Records as runs leave them, made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.config import RunConfig
from bench.plan.sections import KINDS
from bench.record.folder import RunFolder

MACHINE = {"host": "a", "cpu": "a CPU", "cores": 2, "oversubscribed": False, "gpu": None, "torch": "2.14.1"}
MARGIN = 0.005
"""The largest difference of accuracies that does not matter, as conf/config.yaml has it."""
DATA = {"name": "synthetic", "digest": "d1", "train_images": 96, "test_images": 1000, "image_shape": [3, 8, 8]}


def record_of(
    point: RunConfig,
    speed: float = 100.0,
    accuracies: Sequence[float | None] = (0.9,),
    environment: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A run with an epoch of 10 updates and 2 seconds for each accuracy; one without its last has diverged.

    Args:
        environment: what is other than on :data:`MACHINE`.
        changes: other values of the record's own keys.
    """
    epochs = [_epoch(number, accuracy) for number, accuracy in enumerate(accuracies)]
    locking = {f"locking/{kind}_fraction": 0.0 for kind in ("backward", "update")}
    locking |= {"locking/forward_fraction": 0.25, "locking/total_fraction": 0.25}
    metrics = {key: epochs[-1][key] for key in ("accuracy/test", "loss/test", "loss/train", "time/train_seconds")}
    metrics |= {"throughput/images_per_second": speed, "throughput/efficiency": 0.75, "memory/peak_bytes": 5e8}
    return {
        "schema": 1,
        "status": "done" if accuracies[-1] is not None else "diverged",
        "config": point.resolved(),
        "config_hash": point.hash(),
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:01:00+00:00",
        "environment": {**MACHINE, **(environment or {})},
        "data": {**DATA, "classes": 3},
        "partition": [_piece(stage) for stage in range(point.pieces)],
        "metrics": {**metrics, **locking},
        "epochs": epochs,
        "agents": [_agent(rank, *divmod(rank, point.stages)) for rank in range(point.agents)],
        **changes,
    }


def _epoch(number: int, accuracy: float | None) -> dict[str, Any]:
    loss = None if accuracy is None else 1.0 - accuracy
    numbers = {"accuracy/test": accuracy, "loss/test": loss, "loss/train": loss, "lr": 0.1}
    return {"epoch": number, "step": 10 * (number + 1), "time/train_seconds": 2.0 * (number + 1), **numbers}


def _piece(stage: int) -> dict[str, Any]:
    layers = {"first_layer": stage, "last_layer": stage}
    return {"stage": stage, **layers, "cost": 1.0, "cost_unit": "operations", "message_bytes": 128}


def _agent(rank: int, replica: int, stage: int) -> dict[str, Any]:
    seconds = {**dict.fromkeys(KINDS, 0.0), "forward": 3.0, "forward_lock": 1.0}
    return {"rank": rank, "stage": stage, "replica": replica, "wall_seconds": 4.0, "seconds": seconds}


def keep_records(runs_dir: Path, *records: dict[str, Any]) -> Path:
    """Put each into a folder of its own, with the end of its events."""
    for item in records:
        run = RunFolder(runs_dir / item["config_hash"])
        run.clear()
        run.append({"event": "finished", "status": item["status"]})
        run.write_record(item)
    return runs_dir
