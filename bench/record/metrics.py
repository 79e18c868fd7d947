"""The metrics of a run: one table, a row a metric. Their names are a public contract.

What a row says is all there is to say: by it a metric is in the record, and so in MLflow and in the table of all runs,
and in each other table that the row has a heading for. What a network is worth, its task says: a metric
``<quality>/validation`` and ``<quality>/test`` for each of its qualities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from bench.keys import NonNegative, Positive
from bench.plan.sections import COMPUTE, LOCKS
from bench.rule.averaging.contract import spectral_gap
from bench.task.contract import Quality, Split
from bench.task.judgement import Judgement, judgement_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPEED, SECONDS = "throughput/units_per_second", "time/train_seconds"
SCALES = {("fraction", "%"): 100.0, ("bytes", "megabytes"): 1e-6}
"""What numbers of a unit are multiplied by under a heading that ends with another unit."""


@dataclass(frozen=True)
class Ended:
    """What a run knows when it has ended: what its metrics are taken from."""

    units: str
    """What is counted, in the plural."""
    count: int
    """How many of them it has trained on in all."""
    epochs: Sequence[Mapping[str, Any]]
    """The record's epochs."""
    tested: Mapping[str, float]
    """What the network is worth in the end, by the names of metrics."""
    agents: Sequence[Mapping[str, Any]]
    """The record's agents."""
    mixing: NDArray[np.float64] | None
    """The weights [replicas, replicas] by which replicas mix theirs; None where they do not."""

    @property
    def wall(self) -> float:
        """The training clock's seconds."""
        return float(self.epochs[-1][SECONDS])

    def locked(self, kind: str) -> float:
        """The mean over the agents of the fraction of their wall time that they were in a kind of lock."""
        return sum(float(agent["seconds"][kind] / agent["wall_seconds"]) for agent in self.agents) / len(self.agents)


@dataclass(frozen=True)
class Metric:
    """A final number of a run."""

    name: str
    take: Callable[[Ended], float | None] | None
    """Takes it when a run has ended, None where the run has none; whoever starts a run adds those that nothing takes.
    """
    unit: str
    digits: int
    """Decimals in the summary of a sweep."""
    better: Literal["up", "down", ""]
    headings: Mapping[str, str] = field(default_factory=dict)
    """Its heading in each table that shows it, beside that of all runs: ``summary``, ``throughput``. ``{units}`` stands
    for what is counted, in the plural, and ``{short}`` for the same in short."""
    brief: bool = False
    """The terminal shows its column of the table of throughput too."""
    holds: Any = float | None
    """What a record may hold of it."""
    required: bool = False
    """Every record has it."""
    timed: bool = False
    """It says nothing where agents shared cores, nor of the oracle."""
    total: bool = False
    """It adds up those whose names begin as its own does, and stands behind them in a table."""
    headline: bool = False
    """A sweep's run in MLflow has its best and its mean."""
    epoch_name: str = ""
    """What MLflow calls an epoch's own number, where the record's of this name is the whole run's: of one name, its
    tables show the latest value alone. Throughputs are called ``epoch/...`` there."""

    def heading(self, table: str, judgement: Judgement) -> str:
        """Its heading in a table of runs of a task."""
        return self.headings[table].format(units=judgement.units, short=judgement.short)

    def shown(self, number: float, heading: str) -> float:
        """The number in the unit that a heading ends with."""
        for (unit, end), scale in SCALES.items():
            if self.unit == unit and heading.endswith(end):
                return number * scale
        return number


def _last(name: str) -> Callable[[Ended], float]:
    """Take the last epoch's number of a name."""
    return lambda run: float(run.epochs[-1][name])


def _efficiency(run: Ended) -> float:
    """The fraction of the wall time that the busiest agent computes."""
    return max(float(sum(agent["seconds"][kind] for kind in COMPUTE)) for agent in run.agents) / run.wall


def _stalest(run: Ended) -> float:
    """The most updates that any gradient came too late by."""
    return float(max(int(updates) for agent in run.agents for updates in agent["staleness"]))


def _locking(lock: str, kind: str) -> Metric:
    headings = {"summary": f"{lock} lock %", "throughput": f"{lock}_locking"}
    name = f"locking/{lock}_fraction"
    return Metric(name, lambda run: run.locked(kind), "fraction", 1, "down", headings, holds=NonNegative)


METRICS = [
    Metric("loss/train", _last("loss/train"), "nats", 4, "down", required=True),
    Metric(
        SPEED,
        lambda run: run.count / run.wall,
        "units/s",
        0,
        "up",
        {"summary": "{short}/s", "throughput": "{units}_per_second"},
        brief=True,
        holds=Positive | None,
        timed=True,
        headline=True,
    ),
    Metric(
        "throughput/efficiency",
        _efficiency,
        "fraction",
        2,
        "up",
        {"summary": "efficiency", "throughput": "efficiency"},
        brief=True,
        holds=NonNegative,
        required=True,
    ),
    Metric(
        "locking/total_fraction",
        lambda run: sum(run.locked(kind) for kind in LOCKS.values()),
        "fraction",
        1,
        "down",
        {"throughput": "total_locking"},
        brief=True,
        holds=NonNegative,
        required=True,
        total=True,
    ),
    *(_locking(lock, kind) for lock, kind in LOCKS.items()),
    Metric("staleness/max_updates", _stalest, "updates", 0, ""),
    Metric(
        "memory/peak_bytes",
        lambda run: float(max(agent["peak_memory_bytes"] for agent in run.agents)),
        "bytes",
        0,
        "down",
        {"throughput": "peak_megabytes"},
    ),
    Metric(SECONDS, lambda run: run.wall, "seconds", 1, "down", holds=Positive, required=True),
    Metric("consensus/distance", _last("consensus/distance"), "", 4, "down"),
    Metric("consensus/spectral_gap", lambda run: None if run.mixing is None else spectral_gap(run.mixing), "", 4, "up"),
    Metric("lr/margin", None, "", 4, "", epoch_name="epoch/margin"),
]


def speed_of(units: str) -> str:
    """The metric that holds the throughput by the name of what is counted, in the plural.

    Records of before there was :data:`SPEED` have it by that name alone.
    """
    return f"throughput/{units}_per_second"


def speed_in(record: Mapping[str, Any]) -> float:
    """The throughput that a record has, of whichever version."""
    metrics = record["metrics"]
    return float(metrics[SPEED] if SPEED in metrics else metrics[speed_of(judgement_of(record).units)])


def judged_by(epoch: Mapping[str, Any]) -> Split:
    """What an epoch was judged by: the split for validation or, where nothing is held out, the one for testing."""
    return "validation" if any(is_quality(name) and name.endswith("/validation") for name in epoch) else "test"


def is_quality(name: str) -> bool:
    """Whether a metric says what a network is worth; a run that has diverged has none."""
    return name.endswith(("/validation", "/test"))


def on_the_way(epoch: Mapping[str, Any], quality: Quality) -> float | None:
    """An epoch's quality by the split that it was judged by, which curves and the judging of trials take; None if the
    run has diverged."""
    found: float | None = epoch[quality.of(judged_by(epoch))]
    return found


def taken(run: Ended) -> dict[str, float]:
    """The final numbers of a run, by name: what it is worth, and then those of the table."""
    last = {name: float(number) for name, number in run.epochs[-1].items() if name.endswith("/validation")}
    found = {metric.name: metric.take(run) for metric in METRICS if metric.take is not None}
    found |= {speed_of(run.units): found[SPEED]}
    return {**run.tested, **last, **{name: number for name, number in found.items() if number is not None}}


def shown_in(table: str) -> list[Metric]:
    """The metrics that a table has a column of, in their order there."""
    kindred = groupby(METRICS, lambda metric: metric.name.partition("/")[0])
    ordered = [metric for _, members in kindred for metric in sorted(members, key=lambda metric: metric.total)]
    return [metric for metric in ordered if table in metric.headings]
