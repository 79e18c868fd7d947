"""How runs are started, followed and kept: what is refused, in one message."""

from __future__ import annotations

from typing import Any

import pytest

from bench.choice import Choice, choices
from bench.keys import ConfigError, parse_as
from bench.record.checkpoints import Checkpointing
from bench.study.launcher.contract import Launcher
from bench.study.launcher.local import Local
from bench.study.sweep.settings import Reporting, Settings
from bench.study.tracking.contract import Tracking
from bench.study.tracking.none import NoTracking


def listed(contract: type[Choice]) -> str:
    return ", ".join(map(repr, choices(contract)))


VALUES: dict[str, Any] = {
    "tracking": {"name": "none"},
    "launcher": {"name": "local", "parallel": 1},
    "runs_dir": "runs",
    "records": None,
    "force": False,
    "dry_run": False,
    "restarts": 3,
    "alone": False,
    "report": {"margin": 0.005, "target": None},
    "checkpoint": {"every": None, "minutes": 10.0},
}
JOBS = {
    "name": "submitit",
    "cluster": "slurm",
    "minutes": 5,
    "memory_gigabytes": 1,
    "gpus": 0,
    "agents_per_node": None,
    "parallel": None,
    "array": False,
    "slurm_partition": None,
    "additional": {},
}


def test_plain_values_become_choices() -> None:
    settings = parse_as(Settings, VALUES)
    asked: dict[str, Any] = {"report": Reporting(0.005, None), "checkpoint": Checkpointing(None, 10.0)}
    kept: dict[str, Any] = {"records": None, "force": False, "dry_run": False, "restarts": 3, "alone": False}
    assert settings == Settings(NoTracking(), Local(1), "runs", **kept, **asked)
    assert settings.values() == VALUES


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs_dir": ""}, "runs_dir='': must have at least 1 character"),
        ({"runs_dir": "s3://bucket"}, "runs_dir='s3://bucket': must be a path of this machine, not a URL"),
        ({"report": {"margin": 0.0, "target": None}}, "report.margin=0.0: must be greater than 0"),
        ({"report": {"margin": 0.5}}, "report.target: a value is missing"),
        ({"force": 1}, "force=1: must be a valid boolean"),
        (
            {"tracking": {"name": "mlflow", "uri": "", "experiment": "e"}},
            "tracking.uri='': must have at least 1 character",
        ),
        (
            {"tracking": {"name": "mlflow", "uri": "sqlite://", "experiment": "e"}},
            "tracking.uri='sqlite://': must name a file, as sqlite:///mlflow.db does, or be a server's address",
        ),
        ({"tracking": {"name": "wandb"}}, f"tracking.name='wandb': allowed are {listed(Tracking)}"),
        ({"launcher": {}}, f"launcher.name: a value is missing; allowed are {listed(Launcher)}"),
        ({"launcher": {**JOBS, "minutes": 0}}, "launcher.minutes=0: must be greater than or equal to 1"),
        ({"launcher": {**JOBS, "cluster": "pbs"}}, "launcher.cluster='pbs': must be 'slurm' or 'local'"),
        *(
            ({"launcher": {"name": "local", "parallel": wrong}}, f"{said}: must be 'auto' or a number of at least 1")
            for wrong in (0, "all", True, 1.5)
            for said in [f"launcher.parallel={wrong!r}"]
        ),
        (
            {"launcher": {"name": "local", "parallel": 1, "minutes": 1}},
            "launcher.minutes=1: there is no such key; allowed are parallel",
        ),
    ],
    ids=str,
)
def test_a_wrong_value_is_told_what_is_allowed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_as(Settings, {**VALUES, **changes})
    assert str(caught.value) == message


@pytest.mark.parametrize("key", VALUES)
def test_every_key_is_needed(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: a value is missing$"):
        parse_as(Settings, {name: value for name, value in VALUES.items() if name != key})
