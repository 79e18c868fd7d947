"""What a report keeps of a record: one run, small, with what it can be compared with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from bench.config import canonical, grid_label
from bench.record.folder import flatten
from bench.record.metrics import SECONDS, SPEED, is_quality, judged_by, on_the_way, speed_of
from bench.record.version import is_current
from bench.rule.method.contract import facts_of, name_of
from bench.study.report.comparison import LENGTH, NEUTRAL, REPEAT, UNSAID, WAYS, shared
from bench.task.contract import Quality
from bench.task.judgement import Judgement, judgement_of

TITLES = {"stages": "K", "replicas": "S"}
ON_TEST = "had no split for validation (data.validation=0): their curves are of the test split"
"""What is said of such runs beside every table of theirs."""
LOST = "diverged: without a quality, and in no mean of qualities"
"""What is said of runs that have diverged."""
AXES = ("stages", "replicas", "staleness", "method")
"""Keys that every table has as its first columns."""


@dataclass(frozen=True)
class Epoch:
    """What a run measured at a flush point."""

    number: int
    """The number of the epoch that has ended, from 1."""
    updates: int
    seconds: float
    """Seconds on the training clock."""
    quality: float | None
    """What the network is worth by the split for validation (where there is none, for testing); None if the run has
    diverged."""
    rate: float = 0.0
    """The learning rate of its last update, of a stage without staleness; records of the first version have none."""
    margin: float | None = None
    """The largest margin of a stage by then; None where it was not asked for, or is not known."""


@dataclass(frozen=True)
class Run:
    """What a report keeps of one record."""

    name: str
    """The run's hash."""
    status: str
    label: str
    """Its method on its grid."""
    stale: bool
    """Whether staleness means something to its method."""
    keys: dict[str, Any]
    """The canonical configuration, flat, with the method's name as ``method``."""
    metrics: dict[str, float | None]
    epochs: list[Epoch]
    curves: Literal["validation", "test"]
    """The split that its epochs' qualities are of."""
    agents: list[tuple[int, int, dict[str, float]]]
    """Each agent's stage, replica, and fractions of its wall time by kind."""
    environment: dict[str, Any]
    data: dict[str, Any]
    judgement: Judgement
    """What it counts, and is judged by."""
    started: str
    finished: str

    @property
    def seed(self) -> int:
        return int(self.keys["seed"])

    @cached_property
    def group(self) -> str:
        """A text that runs have in common which differ in their seed alone."""
        return shared(self.keys, REPEAT)

    @cached_property
    def workload(self) -> str:
        """A text that runs have in common which learn the same thing, however."""
        return shared(self.keys, REPEAT, *WAYS)

    @cached_property
    def network(self) -> str:
        """A text that runs have in common which compute the same for a sample, whatever their batches and length."""
        return shared(self.keys, REPEAT, *WAYS, *LENGTH, "batch_size")

    @property
    def host(self) -> dict[str, str]:
        """The machine, for a table: its name and its kind, since containers on different machines share a name."""
        known = self.environment
        kind = f"{known.get('cores')} x {known.get('gpu') or known.get('cpu')}"
        return {"host": str(known.get("host")), "machine": kind}

    @property
    def diverged(self) -> bool:
        return self.status == "diverged"

    @property
    def doubt(self) -> str:
        """Why nobody can make the run again from a commit, or why it would come out otherwise; empty if nothing."""
        if not is_current({"environment": self.environment}):
            return "another version of the engine"
        return "uncommitted code" if self.environment.get("git_dirty") else ""

    @property
    def oversubscribed(self) -> bool:
        """Whether there were more agents than cores (or GPUs)."""
        return bool(self.environment.get("oversubscribed"))

    @property
    def colocated(self) -> bool:
        """Whether other runs trained on its machine meanwhile: they share memory and caches."""
        return bool(self.environment.get("colocated"))

    @property
    def timed(self) -> bool:
        """Whether its throughput can be compared: its agents were as many processes, each with a core or GPU, and
        alone."""
        return not self.oversubscribed and not self.colocated and self.keys["engine"] == "distributed"

    @property
    def quality(self) -> Quality:
        return self.judgement.quality

    @property
    def worth(self) -> float | None:
        """Its quality by the test split; None if it has diverged."""
        return self.number(self.quality.of("test"))

    def units_of(self, split: str) -> int:
        """The number of units that a split of its data has."""
        return int(self.data[f"{split}_{self.judgement.units}"])

    def number(self, metric: str) -> float | None:
        known = self.metrics.get(metric)
        return self.metrics.get(speed_of(self.judgement.units)) if known is None and metric == SPEED else known


def read_run(record: dict[str, Any]) -> Run:
    """Make a :class:`Run` of a record. One that has diverged has no quality, whatever is written."""
    diverged, keys = record["status"] == "diverged", canonical(record["config"])
    judgement = judgement_of(record)
    epochs = [_epoch(epoch, judgement.quality) for epoch in record["epochs"]]
    if diverged:
        epochs[-1] = replace(epochs[-1], quality=None)
    return Run(
        name=record["config_hash"],
        status=record["status"],
        label=grid_label(keys),
        stale=facts_of(keys["method"]).stale,
        keys=flatten(keys) | {"method": name_of(keys["method"])},
        metrics={
            key: None if diverged and is_quality(key) else _float(value) for key, value in record["metrics"].items()
        },
        epochs=epochs,
        curves=judged_by(record["epochs"][-1]),
        agents=[_agent(agent) for agent in record["agents"]],
        environment=record["environment"],
        data=record["data"],
        judgement=judgement,
        started=record["started"],
        finished=record["finished"],
    )


def one_each(runs: Sequence[Run]) -> list[Run]:
    """The runs, each once: of one that several machines have made the first, for what a machine does not decide."""
    found: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: (run.started, *run.host.values())):
        found.setdefault(run.name, run)
    return list(found.values())


def doubts_of(runs: Sequence[Run]) -> str:
    """How many of the runs are in doubt, and why, for people; empty if none is."""
    counts = Counter(run.doubt for run in runs if run.doubt)
    return ", ".join(f"{count} of {len(runs)} of {doubt}" for doubt, count in sorted(counts.items()))


def numbers_of(runs: Sequence[Run], metric: str) -> list[float]:
    """A metric of those of the runs that have it."""
    return [number for run in runs if (number := run.number(metric)) is not None]


def curves_of(runs: Sequence[Run]) -> str:
    """The split that the runs' curves are of, for people: ``validation``, ``test``, or both."""
    return " or ".join(sorted({run.curves for run in runs}, reverse=True))


def varying(runs: Sequence[Run], left_out: Sequence[str] = ()) -> list[str]:
    """The keys that differ between the runs, the axes and the seed apart, in the order of the configuration.

    Of keys that a choice brings along, and that tell no more than its name does, the name alone.
    """
    keys = dict.fromkeys(key for run in runs for key in run.keys)
    candidates = [key for key in keys if key not in (*AXES, "seed", *left_out)]
    found = [key for key in candidates if len({setting(run, key) for run in runs} - {""}) > 1]
    return [key for key in found if not _is_told(key, f"{key.partition('.')[0]}.name", runs)]


def _is_told(key: str, name: str, runs: Sequence[Run]) -> bool:
    """Whether the choice's name, which differs as well, leaves one value of the key only."""
    pairs = {(setting(run, name), setting(run, key)) for run in runs}
    names = {called for called, _ in pairs}
    return key != name and len(pairs) == len(names) > 1


def setting(run: Run, key: str) -> str:
    """A key's value in a table; nothing where it has no bearing on the run."""
    idle = {
        "weights": run.keys["staleness"] == 0,
        "averaging": run.keys["replicas"] == 1,
        "partition": run.keys["stages"] == 1,
    }
    if idle.get(key.partition(".")[0], False):
        return ""
    known = UNSAID | ({} if run.keys["staleness"] == 0 else NEUTRAL) | run.keys
    value = known.get(key, "")
    return value if isinstance(value, str) else json.dumps(value)


def order(run: Run) -> tuple[Any, ...]:
    """The key that runs are ordered by: workload, then K, S and staleness, then seed."""
    axes = [run.keys[key] for key in ("stages", "replicas", "staleness")]
    return (run.workload, *axes, run.group, run.seed, run.name)


def _epoch(epoch: Mapping[str, Any], quality: Quality) -> Epoch:
    rate, margin = float(epoch.get("lr") or 0.0), _float(epoch.get("lr/margin"))
    worth = _float(on_the_way(epoch, quality))
    return Epoch(epoch["epoch"] + 1, epoch["step"], float(epoch[SECONDS]), worth, rate, margin)


def _agent(agent: Mapping[str, Any]) -> tuple[int, int, dict[str, float]]:
    wall = agent["wall_seconds"]
    return agent["stage"], agent["replica"], {kind: seconds / wall for kind, seconds in agent["seconds"].items()}


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)
