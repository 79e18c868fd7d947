"""What MLflow is told of a run: names, tags, parameters, numbers and data, chosen for its tables and charts."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench.config import RunConfig, grid_label
from bench.record.environment import git_state
from bench.record.folder import RunFolder, flatten
from bench.record.metrics import METRICS, SPEED
from bench.record.runs_dir import Sweep
from bench.record.tail import Tail
from bench.task.judgement import Judgement, judgement_of

PARAMETER_LENGTH = 500
TAG_LENGTH = 5000
RESTARTS = "restarts"
GROUP = SPEED.partition("/")[0] + "/"
"""What the names of throughputs begin with."""
NO_METRICS = ("event", "time", "epoch", "step")
"""What an epoch has that is no number to be judged by."""


def name(config: RunConfig) -> str:
    """A run's name in MLflow's tables and legends."""
    keys = config.canonical()
    weights = "" if keys["weights"] == "stashed" else f" {keys['weights']}"
    return f"{grid_label(keys)}{weights} seed{keys['seed']}"


def parent_name(sweep: Sweep) -> str:
    if sweep.study:
        return f"study {sweep.study}"
    experiment = [word.partition("=")[2] for word in sweep.overrides if word.startswith("+experiment=")]
    return " ".join(["sweep", *(experiment or [sweep.name])])


def host_name() -> str:
    return platform.node()


def tags(config: RunConfig) -> dict[str, str]:
    """The tags of a point's run."""
    keys = config.canonical()
    names = ("method", "stages", "replicas", "staleness", "weights", "engine", "seed")
    own = {key: str(keys[key]) for key in names} | {"method": config.method.name}
    judgement = Judgement.of(config.data.task)
    own |= {"unit": judgement.unit, "quality": judgement.quality.name}
    return own | {"config_hash": config.hash(), "host": host_name()} | _commit()


def parent_tags(sweep: Sweep) -> dict[str, str]:
    """The tags of a sweep's run."""
    overrides = " ".join(sweep.overrides)[:TAG_LENGTH]
    own = {"sweep": sweep.name, "overrides": overrides}
    own |= {"study": sweep.study} if sweep.study else {"points": str(len(sweep.points))}
    note = {"mlflow.note.content": f"`python -m bench {'tune' if sweep.study else '-m'} {overrides}`"}
    return own | note | {"host": host_name()} | _commit()


def parameters(config: RunConfig) -> list[Any]:
    """MLflow's parameters: all keys that decide the result, with the cuts of an uncut network as they were asked for.

    MLflow's comparison begins with the first three parameters that differ, and cuts would come before staleness.
    """
    from mlflow.entities import Param

    keys = config.canonical() | {"partition": config.partition}
    return [Param(key, _text(value)) for key, value in flatten(keys).items()]


class Content(NamedTuple):
    """All that MLflow is told of a run that has ended, as its own entities."""

    metrics: list[Any]
    tags: list[Any]
    inputs: list[Any]
    files: list[Path]


def content_of(record: dict[str, Any], folder: RunFolder) -> Content:
    """Gather what a run's folder holds for MLflow."""
    files = [folder.record, folder.events_file, folder.timeline, folder.picture, folder.model]
    there = [file for file in files if file.exists()]
    events = Tail(folder).read()
    tags = [*_result_tags(record), *restart_tags(events)]
    return Content(metrics(record, events), tags, _inputs(record), there)


def _result_tags(record: dict[str, Any]) -> list[Any]:
    """The tags that are known when a run has ended."""
    from mlflow.entities import RunTag

    found = {f"environment.{key}": _text(value) for key, value in record["environment"].items()}
    rates = record.get("rates", {})
    found |= {f"lr/{key}": _text(rates[key]) for key in ("shape", "covered", "verdict") if key in rates}
    found["status"] = record["status"]
    return [RunTag(key, value) for key, value in found.items()]


def metrics(record: dict[str, Any], events: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Every number that a run has, with its time and step (updates). The latest of each name is the record's.

    A number that epochs have and the record has as null is NaN here: the run has no such number in the end.
    """
    from mlflow.entities import Metric

    finished, times = milliseconds(record["finished"]), _times(events)
    found: dict[str, list[Any]] = {}
    if restarts := [restart_metric(event) for event in events if _is_restart(event)]:
        found[RESTARTS] = restarts
    for epoch in record["epochs"]:
        for metric in epoch_metrics(epoch, times.get(epoch["epoch"], finished)):
            found.setdefault(metric.key, []).append(metric)
    # MLflow's latest is that of the highest step and then of the latest time, and ``finished`` is cut to seconds.
    after, last_step = (
        max([finished, *times.values()]) + 1,
        max((epoch["step"] for epoch in record["epochs"]), default=0),
    )
    for key, value in record["metrics"].items():
        last = found.setdefault(key, [])[-1:]
        # Where the last epoch has said the same already, a second point would only draw a second dot.
        said = [(metric.value, metric.step) for metric in last] == [(value, last_step)]
        if not said and (last or value is not None):
            found[key].append(Metric(key, math.nan if value is None else float(value), after, last_step))
    return [metric for history in found.values() for metric in history]


def epoch_metrics(epoch: Mapping[str, Any], time: int) -> list[Any]:
    """The numbers that a run has at the end of an epoch.

    Args:
        epoch: the record's entry, or the event.
        time: when the epoch ended, in milliseconds of Unix time.
    """
    from mlflow.entities import Metric

    names = {metric.name: metric.epoch_name for metric in METRICS if metric.epoch_name}
    numbers = {key: value for key, value in epoch.items() if key not in NO_METRICS and value is not None}
    names |= {key: SPEED.replace(GROUP, "epoch/") for key in numbers if key.startswith(GROUP)}
    return [Metric(names.get(key, key), float(value), time, epoch["step"]) for key, value in numbers.items()]


def event_time(event: Mapping[str, Any]) -> int:
    """When an event happened, in milliseconds of Unix time."""
    return int(event["time"] * 1000)


def restart_metric(event: Mapping[str, Any]) -> Any:
    """How often a run has begun again by itself, as the event of one such time tells."""
    from mlflow.entities import Metric

    return Metric(RESTARTS, float(event["number"]), event_time(event), event["step"])


def restart_tags(events: Sequence[Mapping[str, Any]]) -> list[Any]:
    """A tag that says why a run has begun again by itself, each time; none where it has not."""
    from mlflow.entities import RunTag

    told = [f"at update {event['step']}: {event['message']}" for event in events if _is_restart(event)]
    return [RunTag(RESTARTS, "; ".join(told)[:TAG_LENGTH])] if told else []


def _is_restart(event: Mapping[str, Any]) -> bool:
    return bool(event["event"] == "restarted")


def _times(events: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """When each epoch ended, the last time that it did, in milliseconds of Unix time."""
    return {event["epoch"]: event_time(event) for event in events if event["event"] == "epoch"}


def _inputs(record: dict[str, Any]) -> list[Any]:
    """MLflow's entities for the data set that a run trained on."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data, units, told = record["data"], judgement_of(record).units, ("name", "digest")
    sizes = {key: size for key, size in data.items() if key.endswith(f"_{units}")}
    dataset = Dataset(
        name=data["name"],
        digest=data["digest"],
        source_type="local",
        source=json.dumps(record["config"]["data"]),
        schema=json.dumps({key: value for key, value in data.items() if key not in (*told, *sizes)}),
        profile=json.dumps(sizes),
    )
    return [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]


def milliseconds(time: str) -> int:
    """The Unix time of a time in ISO 8601, in milliseconds."""
    return int(datetime.fromisoformat(time).timestamp() * 1000)


def _commit() -> dict[str, str]:
    commit, _ = git_state()
    # The second is the name that MLflow's own pages show as the run's version.
    return {} if commit is None else {"git_commit": commit, "mlflow.source.git.commit": commit}


def _text(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:PARAMETER_LENGTH]
