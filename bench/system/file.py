"""Files that are read and written as a whole."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def read_json(text: bytes) -> Any:
    """Parse JSON that someone else wrote.

    Raises:
        ValueError: it is not JSON, or too deep.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


class WriteError(OSError):
    """A file cannot be written: the message names it, and says why."""

    def __str__(self) -> str:
        return f"{self.filename} cannot be written: {self.strerror}"


def write_json_atomic(path: Path, value: object) -> None:
    """Write a value as JSON, whole or not at all as :func:`write_atomic` does."""
    write_atomic(path, (json.dumps(finite(value), allow_nan=False) + "\n").encode())


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file as :func:`replacing` does, of bytes that are there."""
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to write so that it is, after a crash too, the old one or the whole new one; whoever else writes it.

    Raises:
        WriteError: there is no room for it, or no right to write it.
    """
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def make_durable(folder: Path) -> None:
    """Have the names of the files in a folder outlive a power cut, as their contents do.

    Raises:
        WriteError: the disk does not take them.
    """
    with _writing(folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(error.errno, error.strerror, str(path)) from None


def finite(value: object) -> object:
    """The value with null for every NaN and infinity, which JSON lacks and a diverged run is full of."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
