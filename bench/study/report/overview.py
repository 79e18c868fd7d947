"""The table of all runs, a row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.study.report.cells import axes, varied
from bench.study.report.result import Run, order, varying

if TYPE_CHECKING:
    from pandas import DataFrame


ENVIRONMENT = ("host", "cpu", "cores", "oversubscribed", "gpu", "git_commit", "git_dirty", "engine_version", "torch")


def runs_table(runs: Sequence[Run]) -> DataFrame:
    """The table of runs, one row a run: what it was, what it measured, and where."""
    import pandas

    keys = varying(runs)
    rows = []
    for run in sorted(runs, key=order):
        row: dict[str, Any] = {"run": run.name, "status": run.status, **axes(run), **varied(run, keys)}
        row |= {"seed": run.seed, **run.metrics, "started": run.started, "finished": run.finished}
        row |= {key: run.environment.get(key) for key in ENVIRONMENT}
        row |= {"colocated": True} if run.colocated else {}
        rows.append(row | {"data": run.data["name"], "data_digest": run.data["digest"]})
    return pandas.DataFrame(rows)
