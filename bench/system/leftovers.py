"""What a process that is killed by force leaves behind, and how the next one knows that nobody needs it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path

SHARED = Path("/dev/shm")
"""The folder of files in the memory that processes of one machine share."""
NAME = "staleness-bench"


class Mark:
    """A mark in a folder that this process needs: until the claim is released, or the process has ended.

    The system lets go of a lock when its process ends, however it ends, and a process id may be another's by then. The
    mark has its name once it is locked, so that nobody meets one of a living process that is not.
    """

    def __init__(self, folder: Path) -> None:
        self._mark = folder / f"{NAME}-{os.getpid()}.lock"
        fresh = self._mark.with_suffix(".new")
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT, 0o666)
        self._close = weakref.finalize(self, os.close, file)
        fcntl.flock(file, fcntl.LOCK_EX)
        fresh.rename(self._mark)

    def release(self) -> None:
        """The folder is not needed any more; the last one to say so removes it, if it is empty."""
        self._mark.unlink(missing_ok=True)
        self._close()
        with suppress(OSError):
            self._mark.parent.rmdir()


def clear_left_behind() -> None:
    """Remove this user's folders that processes of ours have marked of which none lives."""
    for folder in (*Path(tempfile.gettempdir()).glob("pymp-*"), *SHARED.glob(f"{NAME}-*")):
        with suppress(OSError):
            marks = list(folder.glob(f"{NAME}-*.lock"))
            if marks and folder.stat().st_uid == os.geteuid() and not any(map(is_locked, marks)):
                shutil.rmtree(folder, ignore_errors=True)


def is_locked(path: Path) -> bool:
    """Whether a living process holds a file's lock.

    Raises:
        OSError: there is no such file.
    """
    # Not by filelock, which would make a file anew that is removed meanwhile.
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
