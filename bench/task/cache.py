"""A data set in a file: written once, mapped by every process that needs them, and believed by none unchecked.

The file lies in a folder that others may write to, and a process that was killed may have left half of it. So whoever
maps it computes anew what follows from its content, such as its digest, and compares; a process does so once for a
file, and the processes that it starts believe it.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import torch

from bench.keys import ConfigError
from bench.system.file import replacing
from bench.task.dataset import Dataset
from bench.task.labelled import LabelledImages
from bench.task.token_stream import TokenStream

FORMAT = 3
"""Part of a file's name: raise it when :meth:`~bench.task.dataset.Dataset.content` changes, or how data is read."""
KINDS: dict[str, type[Dataset]] = {kind.kind: kind for kind in (LabelledImages, TokenStream)}
"""What a file may hold."""

KIND = "kind"
"""The key of a file's content that says which of them it is."""

Stamp = tuple[int, ...]


class Damaged(ValueError):
    """A file is not what was written to it."""


def kept(name: str, folder: Path | None, read: Callable[[], Dataset]) -> Path:
    """Keep a data set in the file called ``name`` in ``folder`` or, where that cannot be written, in the user's cache.

    It is made of what ``read`` returns, unless there is a whole one, and replaced atomically: processes may make the
    same one at once.

    Args:
        folder: None for the user's cache alone.

    Raises:
        ConfigError: there is nowhere to keep it.
    """
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "staleness-bench"
    places = [user] if folder is None else [folder / ".staleness-bench", user]
    paths = [place / f"{name}-v{FORMAT}.pt" for place in places]
    for path in paths:
        if _is_whole(path):
            return path
    dataset = read()
    reasons = []
    for path in paths:
        try:
            with replacing(path) as file:
                torch.save({KIND: dataset.kind, **dataset.content()}, file)
        except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
            reasons.append(f"{path.parent} ({error.strerror if isinstance(error, OSError) else error})")
        else:
            return path
    raise ConfigError(
        f"XDG_CACHE_HOME={str(user.parent)!r}: the data can be kept neither in {' nor in '.join(reasons)}"
    )


_vouched: dict[Path, Stamp] = {}


def believe(path: Path, stamp: Stamp) -> None:
    """Have a file mapped unchecked as long as it has the stamp: another process has checked it."""
    _vouched[path] = stamp


def opened(path: Path) -> Dataset:
    """Map a file, and return what it holds.

    Raises:
        Damaged: it is gone, or not what was written.
    """
    try:
        stamp = stamp_of(path)
        return _mapped(path) if _vouched.get(path) == stamp else _checked(path, stamp)
    except Exception as error:  # a damaged file fails anywhere in the unpickler
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Damaged(f"{path}: is damaged ({reason}); the next command makes it again") from None


@functools.lru_cache(maxsize=4)
def _checked(path: Path, stamp: Stamp) -> Dataset:  # noqa: ARG001
    """Map and check a file in the state of ``stamp``. Raises whatever a file that is not whole makes its reader
    raise."""
    found = _mapped(path)
    found.check()
    return found


def _mapped(path: Path) -> Dataset:
    content = torch.load(path, mmap=True, weights_only=True)
    return KINDS[content.pop(KIND)].of_content(content)


def stamp_of(path: Path) -> Stamp:
    """A stamp that changes whenever the file is written or replaced."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _is_whole(path: Path) -> bool:
    try:
        opened(path)
    except Damaged:
        return False
    return True


def key_of(content: object) -> str:
    """Return 16 hexadecimal digits that a kept file is named by, after what it was made from."""
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]
