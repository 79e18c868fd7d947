"""Names for processes that outlive them and are read on other machines, and who of those that had them still lives.

A process id is given out again, after a power cut soon, and every machine and container gives out the same ones. When a
process started, psutil tells by the clock: once that is set, one that lives would not be the one of its name.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from pathlib import Path

BEAT_SECONDS = 60.0
"""Seconds between two heartbeats of a living process."""
DEAD_SECONDS = 5 * BEAT_SECONDS
"""Seconds without a heartbeat after which another machine's process counts as dead; clocks may be half of it apart."""


def own_name() -> str:
    """This process's name: its id and, where the system tells, the tick since boot at which it started; and where."""
    return f"{_process(os.getpid())}@{machine()}"


def machine() -> str:
    """The name of where process ids mean something to us: a host since it was started, and there a container."""
    container = ""
    with contextlib.suppress(OSError):
        container = str(os.stat("/proc/self/ns/pid").st_ino)
    return "/".join([platform.node(), boot(), container])


def boot() -> str:
    """The name of this start of the system, which all its containers share; empty where there is none."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return ""


def heartbeat() -> str:
    """What a living process leaves beside its name, again and again: the Unix time, in seconds."""
    return str(int(time.time()))


def is_alive(name: str, beat: str) -> bool:
    """Whether a process is still there: one of this machine by its id, any other by its last heartbeat."""
    process, _, where = name.partition("@")
    if where == machine():
        return is_here(process)
    return beat.isdigit() and time.time() - int(beat) < DEAD_SECONDS


def is_here(process: str) -> bool:
    """Whether a process of this machine is still there, by its id and what else its name told of it."""
    number = int(process.partition(":")[0])
    with contextlib.suppress(PermissionError):
        try:
            os.kill(number, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return ":" not in process or process == _process(number)


def _process(number: int) -> str:
    try:
        # The name of the program, in brackets, may hold anything.
        fields = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return str(number)
    return f"{number}:{fields[19]}"
