"""Where a sweep's runs are compared, in words for people."""

from __future__ import annotations

import re
import shlex

from bench.record.folder import flatten
from bench.study.sweep.compose import single
from bench.study.sweep.settings import Settings

SETTLED = ("runs_dir", "tracking.uri", "tracking.experiment")
"""Keys that decide where the runs are looked for."""


def where(settings: Settings) -> str | None:
    """Where a sweep's runs are compared, for people; None if there is no such place."""
    return settings.tracking.where(ui_command(settings))


def ui_command(settings: Settings) -> str:
    """What a user types to compare runs with the others of their sweep."""
    own, usual = flatten(settings.values()), flatten(single([]).settings.values())
    words = [_override(key, own[key]) for key in SETTLED if key in own and own[key] != usual.get(key)]
    return shlex.join(["python", "-m", "bench", "ui", *words])


def _override(key: str, value: str) -> str:
    """Write an override in Hydra's grammar, which wants quotes around most signs."""
    escaped = value.replace("'", "\\'")
    return f"{key}={value}" if re.fullmatch(r"[\w/:.@%+-]+", value, re.ASCII) else f"{key}='{escaped}'"
