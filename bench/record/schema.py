"""What a record has to be, which is checked where one is read, as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field, model_validator

from bench.config import hash_of
from bench.keys import Cardinal, Count, NonNegative, Positive, Text
from bench.record.metrics import METRICS, is_quality, speed_of
from bench.record.valid import Checked, Moment, Numbers
from bench.rule.method.contract import facts_of, name_of
from bench.task.judgement import OLDEST


class ChoiceModel(Checked):
    name: Text


class Config(Checked):
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


class DataModel(Checked):
    name: Text
    digest: Text


class Environment(Checked):
    oversubscribed: bool = False
    """Whether agents shared cores; the record of a run that the benchmark measures does not say."""
    colocated: bool = False
    """Whether other runs trained on the machine meanwhile; only the record of one with company says so."""
    engine_version: Count = 1
    """Records of the first version do not say it."""


class PieceModel(Checked):
    stage: Cardinal
    first_layer: Cardinal
    last_layer: Cardinal
    message_bytes: Cardinal


class EpochModel(Numbers):
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
Metrics = pydantic.create_model("Metrics", __base__=Numbers, **_FIELDS)


class Resumption(Checked):
    step: Cardinal
    """Updates that the run had made by the checkpoint; 0 where none was whole."""
    time: float


class AgentModel(Checked):
    stage: Cardinal
    replica: Cardinal
    wall_seconds: Positive
    seconds: dict[str, NonNegative]


class ConditionModel(Checked):
    name: Text
    holds: bool
    why: Text


class Rates(Checked):
    shape: Text | None = None
    covered: bool | None = None
    outside: list[Text] = Field(default_factory=list)
    margin: NonNegative | None = None
    verdict: Text | None = None
    """One word for all, of older records, with its conditions."""
    conditions: list[ConditionModel] = Field(default_factory=list)


UNKNOWN = Rates()


class QualityModel(Checked):
    name: Text
    unit: str
    better: Literal["up", "down"]
    digits: Cardinal
    margin: NonNegative


class TaskModel(Checked):
    """What a record says of its task; those of before there was more than one say nothing."""

    unit: Text
    short: Text
    quality: QualityModel
    floor: float | None = None


OLDEST_TASK = TaskModel.model_validate(OLDEST.told())


class Record(Checked):
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
    resumed: list[Resumption] = Field(default_factory=list)
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


def check_record(record: Mapping[str, Any]) -> None:
    """Check a record as a whole.

    Raises:
        ValueError: it is no record, or its configuration is not the one that its hash names.
    """
    Record.check(record)
    name = hash_of(record["config"])
    if name != record["config_hash"]:
        raise ValueError(f"config: is not that of the run {record['config_hash']}, but of {name}")
