"""The metrics of a run: one table, a row a metric. Their names are a public contract.

What a row says is all there is to say: by it a metric is in the record, and so in MLflow and in the table of all runs,
and in each other table that the row has a heading for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from bench.keys import NonNegative, Positive
from bench.plan.sections import COMPUTE, LOCKS
from bench.rule.averaging.contract import spectral_gap

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ACCURACY, SPEED, SECONDS = "accuracy/test", "throughput/images_per_second", "time/train_seconds"
VALIDATED = "accuracy/validation"
SCALES = {("fraction", "%"): 100.0, ("bytes", "megabytes"): 1e-6}
"""What numbers of a unit are multiplied by under a heading that ends with another unit."""

Accuracy = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Ended:
    """What a run knows when it has ended: what its metrics are taken from."""

    images: int
    """Images that it has trained on in all."""
    epochs: Sequence[Mapping[str, Any]]
    """The record's epochs."""
    tested: Mapping[str, float]
    """What the network is worth by the test images."""
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
    """Its heading in each table that shows it, beside that of all runs: ``summary``, ``accuracy``, ``throughput``."""
    brief: bool = False
    """The terminal shows its columns of the tables of accuracy and throughput too."""
    holds: Any = float | None
    """What a record may hold of it."""
    required: bool = False
    """Every record has it."""
    quality: bool = False
    """It says what the network is worth, and stands behind what that cost; a run that has diverged has none."""
    timed: bool = False
    """It says nothing where agents shared cores, nor of the oracle."""
    total: bool = False
    """It adds up those whose names begin as its own does, and stands behind them in a table."""
    headline: bool = False
    """A sweep's run in MLflow has its best and its mean."""
    epoch_name: str = ""
    """What MLflow calls an epoch's own number, where the record's of this name is the whole run's: of one name, its
    tables show the latest value alone."""

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


def _validated(name: str) -> Callable[[Ended], float | None]:
    """Take the last epoch's number of a name; None where flush points judge by the test images."""
    return lambda run: run.epochs[-1].get(name)


def _tested(name: str) -> Callable[[Ended], float]:
    """Take a number of the network's worth by the test images."""
    return lambda run: run.tested[name]


METRICS = [
    Metric(
        ACCURACY,
        _tested(ACCURACY),
        "fraction",
        1,
        "up",
        {"summary": "test accuracy %", "accuracy": "accuracy"},
        holds=Accuracy | None,
        required=True,
        quality=True,
        headline=True,
    ),
    Metric("loss/test", _tested("loss/test"), "nats", 4, "down", required=True, quality=True),
    Metric(VALIDATED, _validated(VALIDATED), "fraction", 1, "up", holds=Accuracy | None, quality=True),
    Metric("loss/validation", _validated("loss/validation"), "nats", 4, "down", quality=True),
    Metric("loss/train", _last("loss/train"), "nats", 4, "down", required=True),
    Metric(
        SPEED,
        lambda run: run.images / run.wall,
        "images/s",
        0,
        "up",
        {"summary": "img/s", "throughput": "images_per_second"},
        brief=True,
        holds=Positive,
        required=True,
        timed=True,
        headline=True,
        epoch_name="epoch/images_per_second",
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


def quality_of(split: str) -> tuple[str, str]:
    """The names of the loss and the accuracy by a split of the data."""
    return f"loss/{split}", f"accuracy/{split}"


def judged_by(epoch: Mapping[str, Any]) -> Literal["validation", "test"]:
    """The images that an epoch was judged by: those for validation or, where none are held out, the test images."""
    return "validation" if VALIDATED in epoch else "test"


def on_the_way(epoch: Mapping[str, Any]) -> float | None:
    """An epoch's accuracy by the images that it was judged by, which curves and the judging of trials take; None if the
    run has diverged."""
    _, name = quality_of(judged_by(epoch))
    accuracy: float | None = epoch[name]
    return accuracy


def taken(run: Ended) -> dict[str, float]:
    """The final numbers of a run, by name."""
    found = {metric.name: metric.take(run) for metric in METRICS if metric.take is not None}
    return {name: number for name, number in found.items() if number is not None}


def shown_in(table: str) -> list[Metric]:
    """The metrics that a table has a column of, in their order there."""
    kindred = groupby(METRICS, lambda metric: metric.name.partition("/")[0])
    ordered = [metric for _, members in kindred for metric in sorted(members, key=lambda metric: metric.total)]
    return sorted((metric for metric in ordered if table in metric.headings), key=lambda metric: metric.quality)
