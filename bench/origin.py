"""Where a class comes from, the suite or a user, and what is told of one that fails."""

from __future__ import annotations

import hashlib
import inspect
import sys
import traceback
from pathlib import Path

OWN = "bench."
"""How the modules of the suite's own choices begin."""


def is_own(kind: type) -> bool:
    """Whether a choice is the suite's own."""
    return kind.__module__.startswith(OWN)


def target_of(kind: type) -> str:
    """The dotted path of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def digest_of(kind: type) -> str:
    """12 hexadecimal digits of the SHA-256 of the source file that a class comes from: a changed rule is a new run."""
    return hashlib.sha256(Path(file_of(kind)).read_bytes()).hexdigest()[:12]


def told(error: BaseException, kind: type | None = None) -> str:
    """An error of a user's own code in a line, with the file and line that raised it, or that its class begins at."""
    every = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in every if _is_users(frame.filename, kind)]
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{error.filename}:{error.lineno}: "
    elif frames:
        where = f"{frames[-1].filename}:{frames[-1].lineno}: "
    else:
        where = f"{start_of(kind)}: " if kind else ""
    words = [line.strip() for line in str(error).splitlines() if line.strip()] or [f"in {every[-1].name}"]
    return f"{where}{type(error).__name__}: {words[0]}"


def _is_users(file: str, kind: type | None) -> bool:
    if kind is not None:
        return file == file_of(kind)
    return not file.startswith(("<", str(Path(__file__).parent), sys.base_prefix)) and "site-packages" not in file


def start_of(kind: type) -> str:
    """The file and line that a class begins at."""
    return f"{file_of(kind)}:{inspect.getsourcelines(kind)[1]}"


def file_of(kind: type) -> str:
    """The source file of the module that a class lies in."""
    return str(getattr(sys.modules[kind.__module__], "__file__", None))
