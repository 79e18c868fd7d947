"""Imported by the server of :mod:`bench.study.elsewhere`, and by nobody else: it ends with the one that started it.

It would notice by itself, but not in the seconds of an import, and then take a second to leave torch in order.
"""

from __future__ import annotations

import ctypes
import signal
from contextlib import suppress

PR_SET_PDEATHSIG = 1
"""Of Linux's ``prctl``."""

with suppress(OSError, AttributeError):
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
