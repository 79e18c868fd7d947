"""What a record and an event have to be: a model of each, by which they are checked where they are read, as a whole.

Keys that are not named here are kept as they are: other versions write them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from bench.config import hash_of
from bench.keys import Cardinal, Count, NonNegative, Positive, Text
from bench.record.metrics import METRICS, is_quality, speed_of
from bench.rule.method.contract import facts_of, name_of
from bench.system.file import read_json
from bench.task.judgement import OLDEST

SHOWN = 60
"""The most characters of a value that a message shows."""


def _moment(text: str) -> str:
    try:
        zone = datetime.fromisoformat(text).tzinfo
    except ValueError:
        zone = None
    if zone is None:
        raise ValueError("must be a time in ISO 8601 with its zone")
    return text


Moment = Annotated[str, AfterValidator(_moment)]


class _Model(pydantic.BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Numbers(_Model):
    """A model all of whose other keys are numbers, or null where they were not finite."""

    __pydantic_extra__: dict[str, float | None] = Field(init=False)


class ChoiceModel(_Model):
    name: Text


class Config(_Model):
    """The keys that are read of a configuration, which has been checked when the run was made."""

    stages: Count
    replicas: Count
    staleness: Cardinal
    batch_size: Count
    seed: Cardinal
    method: Text | ChoiceModel
    engine: Text
    weights: Text
    averaging: ChoiceModel
    lr: ChoiceModel
    microbatches: Count | None = None

    @model_validator(mode="after")
    def _has_microbatches(self) -> Config:
        method = self.method if isinstance(self.method, str) else self.method.model_dump()
        if facts_of(method).microbatched and self.microbatches is None:
            raise ValueError(f"method={name_of(method)} has no microbatches")
        return self


class DataModel(_Model):
    name: Text
    digest: Text


class Environment(_Model):
    oversubscribed: bool = False
    """Whether agents shared cores; the record of a run that the benchmark measures does not say."""
    colocated: bool = False
    """Whether other runs trained on the machine meanwhile; only the record of one with company says so."""
    engine_version: Count = 1
    """Records of the first version do not say it."""


class PieceModel(_Model):
    stage: Cardinal
    first_layer: Cardinal
    last_layer: Cardinal
    message_bytes: Cardinal


class EpochModel(_Numbers):
    epoch: Cardinal
    step: Count
    seconds: Positive = Field(alias="time/train_seconds")

    @model_validator(mode="after")
    def _is_judged(self) -> EpochModel:
        if not any(map(is_quality, self.model_extra or {})):
            raise ValueError("<quality>/validation: is missing")
        return self


_FIELDS: dict[str, Any] = {
    f"metric_{number}": (metric.holds, Field(... if metric.required else None, alias=metric.name))
    for number, metric in enumerate(METRICS)
}
Metrics = pydantic.create_model("Metrics", __base__=_Numbers, **_FIELDS)


class Resumption(_Model):
    step: Cardinal
    """Updates that the run had made by the checkpoint; 0 where none was whole."""
    time: float


class AgentModel(_Model):
    stage: Cardinal
    replica: Cardinal
    wall_seconds: Positive
    seconds: dict[str, NonNegative]


class ConditionModel(_Model):
    name: Text
    holds: bool
    why: Text


class Rates(_Model):
    shape: Text | None = None
    covered: bool | None = None
    outside: list[Text] = []
    margin: NonNegative | None = None
    verdict: Text | None = None
    """One word for all, of older records, with its conditions."""
    conditions: list[ConditionModel] = []


UNKNOWN = Rates()


class QualityModel(_Model):
    name: Text
    unit: str
    better: Literal["up", "down"]
    digits: Cardinal
    margin: NonNegative


class TaskModel(_Model):
    """What a record says of its task; those of before there was more than one say nothing."""

    unit: Text
    short: Text
    quality: QualityModel
    floor: float | None = None


OLDEST_TASK = TaskModel.model_validate(OLDEST.told())


class Record(_Model):
    """The content of ``record.json``."""

    status: Literal["done", "diverged"]
    config: Config
    config_hash: Text
    started: Moment
    finished: Moment
    environment: Environment
    data: DataModel
    partition: Annotated[list[PieceModel], Field(min_length=1)]
    metrics: Metrics  # type: ignore[valid-type]
    epochs: Annotated[list[EpochModel], Field(min_length=1)]
    agents: list[AgentModel]
    rates: Rates = UNKNOWN
    resumed: list[Resumption] = []
    task: TaskModel = OLDEST_TASK

    @model_validator(mode="after")
    def _is_of_its_grid(self) -> Record:
        stages = range(self.config.stages)
        grid = [(stage, replica) for replica in range(self.config.replicas) for stage in stages]
        if sorted((agent.stage, agent.replica) for agent in self.agents) != sorted(grid):
            raise ValueError(f"agents: must be one of each of {len(grid)}")
        self._check_judged()
        if not {piece.stage for piece in self.partition} <= {*stages}:
            raise ValueError(f"partition: must be of stages below {len(stages)}")
        return self

    def _check_judged(self) -> None:
        """Hold the metrics and the data against what the task says that they have.

        Raises:
            ValueError: one is missing, or a share is beyond 0 to 1.
        """
        metrics, quality = self.metrics.model_dump(by_alias=True), self.task.quality  # type: ignore[attr-defined]
        speed, units = speed_of(f"{self.task.unit}s"), f"{self.task.unit}s"
        wanted: dict[tuple[str, str], Any] = {("metrics", speed): float}
        wanted[("metrics", f"{quality.name}/test")] = float | None
        wanted |= {("data", f"{split}_{units}"): int for split in ("train", "test")}
        told = {"metrics": metrics, "data": self.data.model_extra or {}}
        for (part, name), kind in wanted.items():
            if name not in told[part]:
                raise ValueError(f"has no {part}.{name}")
            if not isinstance(told[part][name], kind):
                raise ValueError(f"{part}.{name}={told[part][name]!r}: must be a valid number")
        if quality.unit == "fraction":
            for number, epoch in enumerate(self.epochs):
                _check_shares(quality.name, f"epochs.{number}", epoch.model_extra or {})
            _check_shares(quality.name, "metrics", metrics)


def _check_shares(quality: str, where: str, numbers: Mapping[str, Any]) -> None:
    """Check what is told of a quality that is a share.

    Raises:
        ValueError: a number of it is beyond 0 to 1.
    """
    for name in (f"{quality}/validation", f"{quality}/test"):
        number = numbers.get(name)
        if number is not None and not 0 <= number <= 1:
            raise ValueError(f"{where}.{name}={number:g}: must be from 0 to 1")


class Event(_Model):
    """A line of ``events.jsonl``."""

    event: Text
    time: float


class Begun(Event):
    config: Config
    """All keys of the run."""
    process: Text
    """The name of the process that the run was started by."""


class Started(Event):
    steps: Count
    epochs: Count
    units_per_step: Count | None = None
    """Units that all replicas' batches of an update have; older events do not say it."""
    task: TaskModel = OLDEST_TASK


class ProgressModel(Event):
    epoch: Cardinal
    step: Count


class EpochEvent(Event, EpochModel):
    pass


class Restarted(Event):
    number: Count
    """How often the run has begun again by itself."""
    step: Cardinal
    """Updates that its newest checkpoint stands behind."""
    message: str
    """Why: the failure that ended it."""


class ResumedEvent(Event, Resumption):
    pass


class CheckpointEvent(Event):
    step: Count
    seconds: NonNegative
    bytes: Count


class CheckpointProblem(Event):
    step: Count
    message: Text


EVENTS: dict[object, type[Event]] = {
    "begun": Begun,
    "restarted": Restarted,
    "started": Started,
    "progress": ProgressModel,
    "epoch": EpochEvent,
    "resumed": ResumedEvent,
    "checkpoint": CheckpointEvent,
    "no_checkpoint": CheckpointProblem,
    "set_aside": CheckpointProblem,
}


def check_record(record: Mapping[str, Any]) -> None:
    """Check a record as a whole.

    Raises:
        ValueError: it is no record, or its configuration is not the one that its hash names.
    """
    _check(Record, record)
    name = hash_of(record["config"])
    if name != record["config_hash"]:
        raise ValueError(f"config: is not that of the run {record['config_hash']}, but of {name}")


def event_of(line: bytes) -> dict[str, Any]:
    """Parse a line of ``events.jsonl``.

    Raises:
        ValueError: a line of ``events.jsonl`` is not JSON, or not an event.
    """
    event = read_json(line)
    kind = event.get("event") if isinstance(event, dict) else None
    _check(EVENTS.get(kind, Event) if isinstance(kind, str) else Event, event)
    return dict(event)


def _check(model: type[_Model], value: object) -> None:
    try:
        model.model_validate(value)
    except pydantic.ValidationError as error:
        raise ValueError("; ".join([_message(dict(detail)) for detail in error.errors()][:3])) from None


def _message(detail: dict[str, Any]) -> str:
    key = ".".join(map(str, detail["loc"]))
    if detail["type"] == "missing":
        return f"has no {key}"
    if detail["type"] == "value_error":
        allowed = str(detail["ctx"]["error"])
        if isinstance(detail["input"], dict):
            return allowed
    else:
        allowed = re.sub("^(Input|List|String) should", "must", detail["msg"]).partition(" or instance of ")[0]
    value = repr(detail["input"])
    return f"{key}={value if len(value) <= SHOWN else value[:SHOWN] + '...'}: {allowed}".removeprefix("=")
