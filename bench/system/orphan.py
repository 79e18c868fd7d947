"""Ends the server of :mod:`bench.system.call`, which alone imports this module, with the process that started it.

It would notice by itself, but not in the seconds of an import, and then take a second to leave torch in order.
"""

from __future__ import annotations

import ctypes
import signal
from contextlib import suppress

PR_SET_PDEATHSIG = 1
"""The option of Linux's ``prctl`` that names the signal which a process gets when its parent ends."""

with suppress(OSError, AttributeError):
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
