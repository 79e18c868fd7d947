"""Environment variables that are others for a while."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_CHANGING = threading.Lock()
"""Held while the environment is changed, or copied: the process has one, whatever its threads do."""


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, for this process and for those that it starts meanwhile; then put back what was."""
    with _CHANGING:
        before = {name: os.environ.get(name) for name in values}
        os.environ.update(values)
    try:
        yield
    finally:
        with _CHANGING:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def every_variable() -> dict[str, str]:
    """A copy of the environment as it is at one moment, whatever other threads set meanwhile."""
    with _CHANGING:
        return dict(os.environ)
