"""What the ranks' reports say of a whole run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.engine.meter import Meter
from bench.engine.worker import Ages, Evaluation
from bench.plan.sections import COMPUTE, LOCKS
from bench.system.resident import peak_memory


@dataclass(frozen=True)
class EpochReport:
    """What one rank knows of an epoch."""

    wall_seconds: float
    loss: float | None
    squared_distance: float
    evaluation: Evaluation


@dataclass(frozen=True)
class AgentReport:
    """What one process knows of the whole run."""

    rank: int
    wall_seconds: float
    processor_seconds: float
    seconds: dict[str, float]
    ages: list[Ages]
    peak_memory_bytes: int
    predicted_peak_memory_bytes: int | None
    """The peak of memory predicted for the process, in bytes; None by other methods and engines, on a GPU, and where
    the system tells too little."""
    spans: list[list[Any]]

    @classmethod
    def of(cls, rank: int, meter: Meter, ages: list[Ages], predicted: int | None) -> AgentReport:
        spans = [list(span) for span in meter.spans]
        clocks = (meter.wall_seconds, meter.processor_seconds)
        return cls(rank, *clocks, dict(meter.seconds), ages, peak_memory(meter.device), predicted, spans)

    def agents(self) -> list[dict[str, Any]]:
        """The record's entries, one an agent. Agents that share a process (the oracle) share its seconds."""
        return [
            {
                "rank": self.rank,
                "stage": age.stage,
                "replica": age.replica,
                "wall_seconds": self.wall_seconds,
                "processor_seconds": self.processor_seconds,
                "seconds": self.seconds,
                "staleness": {str(updates): batches for updates, batches in age.histogram.items()},
                "weight_versions": age.versions,
                "peak_memory_bytes": self.peak_memory_bytes,
                "predicted_peak_memory_bytes": self.predicted_peak_memory_bytes,
            }
            for age in self.ages
        ]

    def timeline(self) -> dict[str, Any]:
        return {"replica": self.ages[0].replica, "stage": self.ages[0].stage, "spans": self.spans}


def metrics(reports: Sequence[AgentReport], epochs: Sequence[dict[str, Any]], images: int) -> dict[str, float]:
    """The run's final scalars by their public names (design 4).

    ``images`` were trained on in all. Fractions are of the training clock's wall time: efficiency that of the busiest
    agent's computing, locking the mean over the agents of what they were blocked for.
    """
    wall = sum(epoch["time/train_seconds"] for epoch in epochs[-1:])
    fractions = {
        lock: sum(report.seconds[kind] / report.wall_seconds for report in reports) / len(reports)
        for lock, kind in LOCKS.items()
    }
    busiest = max(sum(report.seconds[kind] for kind in COMPUTE) for report in reports)
    ages = [age for report in reports for age in report.ages]
    return {
        "accuracy/test": epochs[-1]["accuracy/test"],
        "loss/test": epochs[-1]["loss/test"],
        "loss/train": epochs[-1]["loss/train"],
        "throughput/images_per_second": images / wall,
        "throughput/efficiency": busiest / wall,
        "locking/total_fraction": sum(fractions.values()),
        **{f"locking/{lock}_fraction": fraction for lock, fraction in fractions.items()},
        "staleness/max_updates": float(max(updates for age in ages for updates in age.histogram)),
        "memory/peak_bytes": float(max(report.peak_memory_bytes for report in reports)),
        "time/train_seconds": wall,
        "consensus/distance": epochs[-1]["consensus/distance"],
    }
