"""What a report keeps of a record: one run, small, with what it can be compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.config import canonical, grid_label
from bench.study.record import flatten

METHOD = ("stages", "replicas", "staleness", "method", "microbatches", "weights", "averaging", "partition", "engine")
"""Keys that may differ between runs that are compared; all others, the seed apart, make the workload."""
TITLES = {"stages": "K", "replicas": "S"}
AXES = ("stages", "replicas", "staleness", "method")
"""Keys that every table has as its first columns."""


@dataclass(frozen=True)
class Epoch:
    """A flush point."""

    number: int
    """Of the epoch that has ended, from 1."""
    updates: int
    seconds: float
    """On the training clock."""
    accuracy: float | None
    """Of the test images; None if the run has diverged."""


@dataclass(frozen=True)
class Run:
    """One record."""

    name: str
    """Its hash."""
    status: str
    keys: dict[str, Any]
    """The canonical configuration, flat."""
    metrics: dict[str, float | None]
    epochs: list[Epoch]
    agents: list[tuple[int, int, dict[str, float]]]
    """Stage, replica and fractions of the wall time by kind of each."""
    environment: dict[str, Any]
    data: dict[str, Any]
    started: str
    finished: str

    @property
    def seed(self) -> int:
        return int(self.keys["seed"])

    @cached_property
    def group(self) -> str:
        """Runs of one group differ in their seed alone."""
        return self._text([key for key in self.keys if key != "seed"])

    @cached_property
    def workload(self) -> str:
        """Runs of one workload learn the same thing, however."""
        return self._text(self._work())

    @cached_property
    def network(self) -> str:
        """Runs of one network compute the same for an image, in batches of whatever size."""
        return self._text([key for key in self._work() if key != "batch_size"])

    @property
    def host(self) -> dict[str, str]:
        """The machine, for a table: its name and its kind, since containers on different machines share a name."""
        known = self.environment
        kind = f"{known.get('cores')} x {known.get('gpu') or known.get('cpu')}"
        return {"host": str(known.get("host")), "machine": kind}

    @property
    def timed(self) -> bool:
        """Whether its throughput can be compared: its agents were as many processes, each with a core or GPU."""
        return not self.environment.get("oversubscribed") and self.keys["engine"] == "distributed"

    @property
    def label(self) -> str:
        return grid_label(self.keys)

    def number(self, metric: str) -> float | None:
        return self.metrics.get(metric)

    def _work(self) -> list[str]:
        return [key for key in self.keys if key.partition(".")[0] not in (*METHOD, "seed")]

    def _text(self, keys: Sequence[str]) -> str:
        return json.dumps({key: self.keys[key] for key in keys}, sort_keys=True)


def read_run(record: dict[str, Any]) -> Run:
    """A :class:`Run` of a record.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the record is not as it should be.
    """
    keys = flatten(canonical(record["config"]))
    metrics = {key: _number(value) for key, value in record["metrics"].items()}
    if record["status"] not in ("done", "diverged"):
        raise ValueError(f"status={record['status']!r} is neither done nor diverged")
    for key in (*AXES, "seed", "engine"):
        keys[key]
    return Run(
        name=record["config_hash"],
        status=record["status"],
        keys=keys,
        metrics=metrics,
        epochs=[_epoch(epoch) for epoch in record["epochs"]],
        agents=[_agent(agent) for agent in record["agents"]],
        environment=dict(record["environment"]),
        data=dict(record["data"]),
        started=record["started"],
        finished=record["finished"],
    )


def varying(runs: Sequence[Run], left_out: Sequence[str] = ()) -> list[str]:
    """The keys that differ between the runs, the axes and the seed apart, in the order of the configuration."""
    keys = dict.fromkeys(key for run in runs for key in run.keys)
    candidates = [key for key in keys if key not in (*AXES, "seed", *left_out)]
    return [key for key in candidates if len({setting(run, key) for run in runs} - {""}) > 1]


def setting(run: Run, key: str) -> str:
    """A key's value in a table; nothing where it has no bearing on the run."""
    idle = {
        "weights": run.keys["staleness"] == 0,
        "averaging": run.keys["replicas"] == 1,
        "partition": run.keys["stages"] == 1,
    }
    value = run.keys.get(key)
    if value is None or idle.get(key.partition(".")[0], False):
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def order(run: Run) -> tuple[Any, ...]:
    """By workload, then K, S and staleness, then seed."""
    axes = [run.keys[key] for key in ("stages", "replicas", "staleness")]
    return (run.workload, *axes, run.group, run.seed, run.name)


def _epoch(epoch: Mapping[str, Any]) -> Epoch:
    accuracy = _number(epoch["accuracy/test"])
    return Epoch(int(epoch["epoch"]) + 1, int(epoch["step"]), float(epoch["time/train_seconds"]), accuracy)


def _agent(agent: Mapping[str, Any]) -> tuple[int, int, dict[str, float]]:
    wall = float(agent["wall_seconds"])
    fractions = {kind: float(seconds) / wall for kind, seconds in agent["seconds"].items()}
    return int(agent["stage"]), int(agent["replica"]), fractions


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)
