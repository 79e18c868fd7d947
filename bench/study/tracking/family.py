"""Which runs are compared: those of the last sweep that MLflow has runs of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.record.runs_dir import Sweep
from bench.study.tracking import mirror
from bench.study.tracking.experiment import tag


@dataclass(frozen=True)
class Family:
    """Runs that belong together."""

    name: str
    title: str
    """What the runs are called, for people."""
    runs: tuple[Any, ...]
    """MLflow's finished runs, newest first."""


def family_of(sweep: Sweep, runs: Sequence[Any]) -> Family:
    """The runs that a sweep asked for, by whichever sweep they were made: their parent is the first one's.

    Args:
        runs: all runs of an experiment, newest first.
    """
    finished = _finished(runs)
    return Family(
        sweep.name, mirror.parent_name(sweep), tuple(finished[key] for key in finished if key in sweep.points)
    )


def last_family(runs: Sequence[Any], sweeps: Sequence[Sweep]) -> Family:
    """The runs of the newest sweep that has any: of a ``runs_dir``, or else of the store; or else all single ones.

    Args:
        runs: all runs of an experiment, newest first.
        sweeps: the sweeps of a ``runs_dir``, newest first.
    """
    families = [family_of(sweep, runs) for sweep in sweeps]
    finished = tuple(_finished(runs).values())
    families += [_family_of_parent(run, finished) for run in runs if tag(run, "sweep")]
    single = Family("single runs", "single runs", finished)
    return next((family for family in families if family.runs), single)


def _finished(runs: Sequence[Any]) -> dict[str, Any]:
    """The newest finished run of each point, by hash: a point that was made again has several."""
    found: dict[str, Any] = {}
    for run in runs:
        if run.info.status == "FINISHED" and tag(run, "config_hash"):
            found.setdefault(tag(run, "config_hash"), run)
    return found


def _family_of_parent(parent: Any, finished: Sequence[Any]) -> Family:
    children = [run for run in finished if tag(run, "mlflow.parentRunId") == parent.info.run_id]
    return Family(tag(parent, "sweep"), str(parent.info.run_name), tuple(children))
