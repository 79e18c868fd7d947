"""Memory that a rank frees stays with it: activations come and go in every update, and fresh pages cost faults."""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's ``mallopt``."""
NEVER = 2**31 - 1
"""Bytes at the end of the heap, or of one tensor, from which on they go back to the system."""


def keep_freed_memory() -> bool:
    """Let glibc's malloc keep what this process frees; return whether it does. Other C libraries stay as they are."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(mallopt(option, NEVER) == 1 for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD))


def give_back_freed_memory() -> None:
    """Return to the system what malloc has kept so far, once: what start-up took and training will not need."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
