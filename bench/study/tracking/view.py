"""A page of MLflow's that shows given runs side by side: which charts it has, and its address.

MLflow 3.17 opens an experiment on a page for traces, folds a sweep's runs under their parent, draws nothing for what is
folded and at most ten runs of what is not. What a page shows instead is kept in a tag of the experiment, by a key that
the page's address names: MLflow's "share view" writes the same.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from bench.record.metrics import speed_of
from bench.study.tracking.experiment import tag
from bench.task.contract import Quality
from bench.task.judgement import KNOWN, OLDEST

TAG = "mlflow.sharedViewState."
SECTION = "comparison"
RUNS_A_VIEW = 500
"""The most runs of a view: as many ids fit into a tag of an experiment, 20,000 characters."""
AXES = 5
"""The most parameters of the parallel coordinates: more cannot be read."""
NOT_AN_AXIS = ("seed", "partition")
"""Parameters that are no axis: which repeat it was, and what follows from the rest."""


def key(name: str) -> str:
    """The key of a view, of whatever characters its name consists."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def address(server: str, experiment: str, name: str) -> str:
    """The address of a view that the experiment has, among the runs of MLflow's pages for training."""
    query = {"viewStateShareKey": key(name), "compareRunsMode": "CHART", "workflowType": "machine_learning"}
    return f"{server.rstrip('/')}/#/experiments/{experiment}/runs?{urlencode(query)}"


@dataclass(frozen=True)
class Shown:
    """What a view shows of runs: which of their numbers are drawn."""

    quality: Quality
    """What they are judged by."""
    units: str
    """What they count, in the plural."""

    @classmethod
    def of(cls, run: Any) -> Shown:
        """What MLflow's run says; one of before there was more than one task says nothing."""
        name, unit = tag(run, "quality") or OLDEST.quality.name, tag(run, "unit") or OLDEST.unit
        return cls(KNOWN.get(name) or replace(OLDEST.quality, name=name), f"{unit}s")

    @property
    def worth(self) -> str:
        return self.quality.of("test")

    @property
    def speed(self) -> str:
        return speed_of(self.units)


def content(parameters: Mapping[str, Mapping[str, str]], shown: Shown) -> str:
    """The content of a view's tag: all its runs side by side, in charts.

    Args:
        parameters: the parameters of each run, by its id.
        shown: which of their numbers are drawn.
    """
    state = {
        "searchFilter": f"attributes.run_id IN ({', '.join(repr(run) for run in parameters)})",
        # In MLflow's own order, by time, children would be folded under their parents again.
        "orderByKey": f"metrics.`{shown.worth}`",
        "orderByAsc": shown.quality.better == "down",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,
        "compareRunSections": [{"uuid": SECTION, "name": SECTION, "display": True, "isReordered": True}],
        "compareRunCharts": _charts(_varying(list(parameters.values())), _curve(parameters.values(), shown), shown),
    }
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()


def _curve(parameters: Iterable[Mapping[str, str]], shown: Shown) -> str:
    """The metric that epochs are judged by: that of the split for validation, where a run has any."""
    return shown.quality.of("validation" if any("data.validation" in each for each in parameters) else "test")


def _charts(axes: Sequence[str], curve: str, shown: Shown) -> list[dict[str, Any]]:
    speed, worth = ({"key": metric, "type": "METRIC"} for metric in (shown.speed, shown.worth))
    charts: list[dict[str, Any]] = [
        {"type": "BAR", "metricKey": shown.worth},
        {"type": "BAR", "metricKey": shown.speed},
        {"type": "SCATTER", "xaxis": speed, "yaxis": worth},
        {"type": "LINE", "metricKey": curve, "lineSmoothness": 0, "useGlobalLineSmoothing": False},
    ]
    if axes:
        metrics = {"selectedParams": list(axes), "selectedMetrics": [shown.speed, shown.worth]}
        charts.append({"type": "PARALLEL", **metrics, "showAllRuns": True})
    common = {"runsCountToCompare": RUNS_A_VIEW, "metricSectionId": SECTION, "deleted": False, "isGenerated": False}
    return [{"uuid": f"{SECTION}-{number}", **common, **chart} for number, chart in enumerate(charts)]


def _varying(parameters: Sequence[Mapping[str, str]]) -> list[str]:
    """The first parameters that differ between the runs."""
    names = dict.fromkeys(name for each in parameters for name in each if name not in NOT_AN_AXIS)
    return [name for name in names if len({each.get(name) for each in parameters}) > 1][:AXES]
