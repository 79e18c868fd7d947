"""What the ranks report of an epoch and of a whole run, and what it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bench.engine.meter import Meter
from bench.engine.worker import Ages, Evaluation
from bench.system.resident import peak_memory


@dataclass
class Outcome:
    """What a run leaves in memory, for its record and its files."""

    status: str
    """``done``, or ``diverged``: an epoch's training loss is over ``loss_limit``, or a loss is not finite."""
    partition: list[dict[str, Any]]
    epochs: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    agents: list[dict[str, Any]] = field(default_factory=list)
    timelines: list[dict[str, Any]] = field(default_factory=list)
    state: dict[str, Tensor] = field(default_factory=dict)
    """Parameters and statistics: at rank 0 the uncut network's, elsewhere this process's own."""
    resumed: bool = False
    """Whether an earlier process had begun the run: from a checkpoint of its, or anew where there was no whole one."""
    checkpointed: bool = False
    """Whether there are checkpoints, as all ranks know."""


@dataclass(frozen=True)
class EpochReport:
    """What one rank knows of an epoch at its end."""

    loss: float | None
    squared_distance: float
    evaluation: Evaluation


@dataclass(frozen=True)
class FlushReport:
    """What one rank says at a flush point."""

    wall_seconds: float
    """Seconds of the stretch before it, on the training clock."""
    due: bool
    """Whether it asks for a checkpoint."""
    stop: bool
    """Whether it was announced the end, so that the run is to stop here."""
    epoch: EpochReport | None
    """None within an epoch."""


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

    @classmethod
    def of(cls, rank: int, meter: Meter, ages: list[Ages], peak: int, predicted: int | None) -> AgentReport:
        """Take a rank's figures.

        Args:
            peak: the most bytes that its process held before the run went on in this one; 0 if it began here.
        """
        clocks = (meter.wall_seconds, meter.processor_seconds)
        return cls(rank, *clocks, dict(meter.seconds), ages, max(peak, peak_memory(meter.device)), predicted)

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


def timeline(meter: Meter, ages: Sequence[Ages]) -> dict[str, Any]:
    """A process's part of the trace, as :func:`~bench.record.trace.chrome_trace` takes it."""
    return {"replica": ages[0].replica, "stage": ages[0].stage, "spans": [list(span) for span in meter.spans]}
