"""The version of what a run computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENGINE_VERSION = 1
"""Goes up with every change after which some run's result is another one, rounding apart: ``tests/test_version.py``
holds results of this version, and fails where they change without it. Records of another version are made again."""


def is_current(record: Mapping[str, Any]) -> bool:
    """Whether a record is of what this version of the engine computes."""
    return bool(record["environment"].get("engine_version", 1) == ENGINE_VERSION)
