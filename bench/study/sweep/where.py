"""Where a sweep's runs are compared, in words for people."""

from __future__ import annotations

import re
import shlex

from bench.config import MLflow, RunConfig, masked
from bench.record.folder import flatten
from bench.study.sweep.compose import compose
from bench.study.tracking.store import is_server

SETTLED = ("runs_dir", "tracking.uri", "tracking.experiment")
"""Keys that decide where the runs are looked for."""


def where(config: RunConfig) -> str:
    """Where a sweep's runs are compared, for people: the command, and the server's address where that is by itself."""
    assert isinstance(config.tracking, MLflow)
    server = f", at {config.tracking.uri}" if is_server(config.tracking.uri) else ""
    return masked(f"{ui_command(config)}{server}")


def ui_command(config: RunConfig) -> str:
    """What a user types to compare a run with the others of its sweep."""
    own, usual = flatten(config.resolved()), flatten(compose([]).resolved())
    words = [_override(key, own[key]) for key in SETTLED if key in own and own[key] != usual.get(key)]
    return shlex.join(["python", "-m", "bench", "ui", *words])


def _override(key: str, value: str) -> str:
    """Write an override in Hydra's grammar, which wants quotes around most signs."""
    escaped = value.replace("'", "\\'")
    return f"{key}={value}" if re.fullmatch(r"[\w/:.@%+-]+", value, re.ASCII) else f"{key}='{escaped}'"
