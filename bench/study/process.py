"""Names for processes that outlive them: a process id is given out again, after a power cut soon."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def own_name() -> str:
    """This process: its id and, where the system tells, the clock tick since boot at which it started."""
    return _name(os.getpid())


def is_alive(name: str) -> bool:
    """Whether the process of this machine that had the name is still there."""
    if not name.partition(":")[0].isdigit():
        return False
    number = int(name.partition(":")[0])
    with contextlib.suppress(PermissionError):
        try:
            os.kill(number, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return ":" not in name or name == _name(number)


def _name(number: int) -> str:
    try:
        # The name of the program, in brackets, may hold anything.
        fields = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return str(number)
    return f"{number}:{fields[19]}"
