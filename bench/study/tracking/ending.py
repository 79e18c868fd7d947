"""How a run has ended, as its folder says, and all that MLflow is told of it then."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bench.config import RunConfig, parse_recorded
from bench.keys import ConfigError
from bench.record.folder import Failure, RecordError, RunFolder
from bench.record.state import configuration_of, failure_of
from bench.record.tail import Tail
from bench.study.tracking import mirror
from bench.study.tracking.epoch_curves import EpochCurves
from bench.study.tracking.mirror import Content


class Ending(NamedTuple):
    """How a run has ended."""

    config: RunConfig
    digest: str
    """What tells it apart from another ending of the same run."""
    status: Literal["FINISHED", "FAILED", "KILLED"]
    """MLflow's word for it."""
    time: int
    """When it ended, in milliseconds of Unix time."""
    content: Content


def with_result(folder: RunFolder, record: dict[str, Any]) -> Ending:
    """The ending of a run that has its record.

    Raises:
        RecordError: this version cannot read its configuration.
    """
    config, time = _parsed(folder.record, record["config"]), mirror.milliseconds(record["finished"])
    return Ending(config, _digest(folder.record), "FINISHED", time, mirror.content_of(record, folder))


def without_result(config: RunConfig, folder: RunFolder, failure: Failure) -> Ending:
    """The ending of a run that has none, of which MLflow keeps the curves up to there."""
    from mlflow.entities import RunTag

    curves = EpochCurves(folder)
    curves.read()
    tags = [RunTag("error", failure.message[: mirror.TAG_LENGTH]), RunTag("status", failure.status)]
    tags += mirror.restart_tags(Tail(folder).read())
    files = [file for file in (folder.failure, folder.events_file) if file.exists()]
    digest = _digest(files[0]) if files else ""
    status: Literal["FAILED", "KILLED"] = "FAILED" if failure.status == "failed" else "KILLED"
    return Ending(config, digest, status, int(failure.time * 1000), Content(curves.metrics, tags, [], files))


def abandoned(folder: RunFolder) -> Ending:
    """The ending of a run that has no record, and that no process is at.

    Raises:
        RecordError: the folder does not say which run it is of, or how it ended.
    """
    known = configuration_of(folder)
    if known is None:
        raise RecordError(f"{folder.record}: there is no record to mirror")
    return without_result(_parsed(folder.events_file, known), folder, failure_of(folder))


def _parsed(file: Path, keys: dict[str, Any]) -> RunConfig:
    try:
        return parse_recorded(keys)
    except ConfigError as error:
        raise RecordError(f"{file}: {error}") from None


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
