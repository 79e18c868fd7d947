"""Where Python finds a user's own classes: in the folder that we are in, and beside the folder of configurations."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench.system.variables import variables


@contextmanager
def importable(named: str | None) -> Iterator[None]:
    """Have this process, and those that it forks, find a user's packages; what is installed comes first.

    Args:
        named: the folder that ``--config-dir`` names.
    """
    before = [*sys.path]
    places = [Path.cwd(), *([Path(named).absolute().parent] if named else [])]
    sys.path += [place for place in dict.fromkeys(map(str, places)) if place not in before]
    try:
        yield
    finally:
        sys.path[:] = before


def exported() -> AbstractContextManager[None]:
    """Have an interpreter that is started meanwhile, here or as a cluster's job, find what this one finds."""
    return variables({"PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
