"""The memory that this process holds, and the most that it has held since it was last told to forget."""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

STATUS = Path("/proc/self/status")
MARKS = Path("/proc/self/clear_refs")
FORGET = "5"
"""What tells the kernel to set its high-water mark back to what is resident now (man 5 proc)."""


class Resident(NamedTuple):
    """Bytes that a process has in memory."""

    own: int
    """Bytes of the process's own, and of what it shares with others on purpose."""
    files: int
    """Bytes of mapped files: mostly libraries, whose code comes in when it first runs."""


def resident() -> Resident | None:
    """Bytes resident in this process now; None where the system does not tell."""
    sizes = _status()
    try:
        return Resident(sizes["RssAnon"] + sizes["RssShmem"], sizes["RssFile"])
    except KeyError:
        return None


def forget_peak(device: torch.device) -> None:
    """Let :func:`peak_memory` begin anew; where the system does not offer that, it counts from the process's start."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        MARKS.write_text(FORGET)


def peak_memory(device: torch.device) -> int:
    """The most bytes since :func:`forget_peak`: allocated on the GPU, or resident in the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # getrusage also counts what the process held before an exec, which is another program's memory.
    return _status().get("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _status() -> dict[str, int]:
    """Sizes that the kernel tells of this process, in bytes, by its names for them."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines if line.endswith(" kB")]
    return {name.removesuffix(":"): int(size) * 1024 for name, size, _ in words}
