"""What MLflow is told of a run: names, tags, parameters, numbers and data, chosen for its tables and charts."""

from __future__ import annotations

import json
import platform
from datetime import datetime
from typing import Any

from bench.config import RunConfig, grid_label
from bench.study.record import RunFolder, flatten, git_state
from bench.study.shelf import Sweep

PARAMETER_LENGTH = 500
TAG_LENGTH = 5000


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


def host() -> str:
    return platform.node()


def tags(config: RunConfig) -> dict[str, str]:
    """Of a point's run."""
    keys = config.canonical()
    names = ("method", "stages", "replicas", "staleness", "weights", "engine", "seed")
    own = {key: str(keys[key]) for key in names}
    return own | {"config_hash": config.hash(), "host": host()} | _commit()


def parent_tags(sweep: Sweep) -> dict[str, str]:
    """Of a sweep's run."""
    overrides = " ".join(sweep.overrides)[:TAG_LENGTH]
    own = {"sweep": sweep.name, "overrides": overrides}
    own |= {"study": sweep.study} if sweep.study else {"points": str(len(sweep.points))}
    note = {"mlflow.note.content": f"`python -m bench {'tune' if sweep.study else '-m'} {overrides}`"}
    return own | note | {"host": host()} | _commit()


def parameters(config: RunConfig) -> list[Any]:
    """All keys that decide the result. The cuts of an uncut network are shown as they were asked for.

    MLflow's comparison begins with the first three parameters that differ, and cuts would come before staleness.
    """
    from mlflow.entities import Param

    keys = config.canonical() | {"partition": config.partition}
    return [Param(key, _text(value)) for key, value in flatten(keys).items()]


def result_tags(record: dict[str, Any]) -> dict[str, str]:
    """What is known when a run has ended."""
    environment = {f"environment.{key}": _text(value) for key, value in record["environment"].items()}
    return environment | {"status": record["status"], "lr/verdict": _text(record.get("rates", {}).get("verdict"))}


def metrics(record: dict[str, Any], folder: RunFolder) -> list[Any]:
    """Every number that a run has, with its time and step (updates)."""
    from mlflow.entities import Metric

    finished = milliseconds(record["finished"])
    times = {event["epoch"]: int(event["time"] * 1000) for event in folder.events() if event["event"] == "epoch"}
    found = []
    last: dict[str, Any] = {"step": 0}
    for last in record["epochs"]:
        for key, value in last.items():
            if key not in ("epoch", "step") and value is not None:
                found.append(Metric(key, float(value), times.get(last["epoch"], finished), last["step"]))
    for key, value in record["metrics"].items():
        # Where the last epoch has said the same already, a second point would only draw a second dot.
        if value is not None and value != last.get(key):
            found.append(Metric(key, float(value), finished, last["step"]))
    return found


def inputs(record: dict[str, Any]) -> list[Any]:
    """The data set that a run trained on."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = record["data"]
    dataset = Dataset(
        name=data["name"],
        digest=data["digest"],
        source_type="local",
        source=json.dumps(record["config"]["data"]),
        schema=json.dumps({"image_shape": data["image_shape"], "classes": data["classes"]}),
        profile=json.dumps({"train_images": data["train_images"], "test_images": data["test_images"]}),
    )
    return [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]


def milliseconds(time: str) -> int:
    """Unix time of one in ISO 8601."""
    return int(datetime.fromisoformat(time).timestamp() * 1000)


def _commit() -> dict[str, str]:
    commit, _ = git_state()
    # The second is the name that MLflow's own pages show as the run's version.
    return {} if commit is None else {"git_commit": commit, "mlflow.source.git.commit": commit}


def _text(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:PARAMETER_LENGTH]
