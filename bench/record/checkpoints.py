"""The checkpoints in a run's folder: how they lie there, and which of them is whole.

A part a rank under ``<step>/``, and then, with all of them on the disk, the manifest ``<step>.json``, which names what
they are of and their digests::

    checkpoint/120.json   checkpoint/120/rank0.pt   checkpoint/120/rank1.pt

What has no manifest was not finished. Nodes may have a disk each: a rank wants its own parts alone, and the first rank
the manifests.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from bench.keys import STRICT, Cardinal, Count, Positive, Text, parse_as
from bench.system.file import make_durable, read_json, replacing, write_json_atomic

KEPT = 2
"""How many stay: the newest may turn out to be damaged."""
LAYOUT = 1
"""Version of the layout of manifest and parts."""
ASIDE = ".aside"
"""What the name of a checkpoint ends with that nothing looks for."""


@dataclass(frozen=True)
class Checkpointing:
    """When a run leaves a checkpoint: at the first flush point at which either is reached since the last one."""

    __pydantic_config__ = STRICT
    every: Count | None
    """Flush points from one checkpoint to the next; None: their number does not count."""
    minutes: Positive | None
    """Minutes from one checkpoint to the next; None: time does not count."""

    def is_due(self, flushes: int, seconds: float) -> bool:
        """Whether one is due, so many flush points and seconds after the last."""
        by_number = self.every is not None and flushes >= self.every
        return by_number or (self.minutes is not None and seconds >= 60 * self.minutes)


class CheckpointError(ValueError):
    """A run cannot go on from a checkpoint: the message names the file."""


NEVER = Checkpointing(None, None)


@dataclass(frozen=True)
class Origin:
    """What a checkpoint is of: a run goes on from its own alone."""

    config_hash: Text
    engine_version: Count
    data: Text
    """The digest of the data set."""
    ranks: Count


@dataclass(frozen=True)
class Written:
    """What a rank has written."""

    digest: Text
    """SHA-256, in hexadecimal digits."""
    bytes: Cardinal


@dataclass(frozen=True)
class Manifest:
    """A whole checkpoint."""

    __pydantic_config__ = STRICT
    layout: Count
    step: Count
    """Updates that the run had made."""
    origin: Origin
    parts: list[Written]
    """In rank order."""

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)


class Hashing:
    """A file that is written to, and the digest of what it holds."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash, self._bytes = file, hashlib.sha256(), 0
        self.problem: OSError | None = None
        """Why it could not be written: whoever writes it may raise an error of its own on top."""

    def write(self, content: bytes) -> int:
        self._hash.update(content)
        self._bytes += len(content)
        try:
            return self._file.write(content)
        except OSError as error:
            self.problem = error
            raise

    def flush(self) -> None:
        self._file.flush()

    @property
    def written(self) -> Written:
        return Written(self._hash.hexdigest(), self._bytes)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run, in its folder."""

    path: Path

    @contextmanager
    def writing(self, step: int, rank: int) -> Iterator[Hashing]:
        """Open a rank's part, which is on the disk when the context is left.

        Raises:
            WriteError: there is no room for it.
        """
        part = self._part(step, rank)
        with replacing(part) as file:
            hashing = Hashing(file)
            try:
                yield hashing
            except RuntimeError as error:
                raise hashing.problem or error from None
        make_durable(part.parent)

    def publish(self, manifest: Manifest) -> None:
        """Name a checkpoint whose parts are on the disk, all of them.

        Raises:
            WriteError: there is no room for it.
        """
        make_durable(self.path)
        write_json_atomic(self._manifest(manifest.step), asdict(manifest))
        make_durable(self.path)

    def published(self) -> list[int]:
        """The steps of the checkpoints that have a manifest, the newest first."""
        steps = (path.stem for path in self.path.glob("*.json"))
        return sorted((int(step) for step in steps if step.isdecimal()), reverse=True)

    def unfinished(self) -> list[int]:
        """The steps of those that have parts and no manifest, the newest first: older ones were removed, or will be."""
        newest = max(self.published(), default=0)
        return sorted((step for step in self._begun() if step > newest), reverse=True)

    def manifest(self, step: int, origin: Origin) -> Manifest:
        """Read a manifest, and hold it against what the checkpoint should be of.

        Raises:
            CheckpointError: it cannot be read, or is of another run, engine or data set.
        """
        path = self._manifest(step)
        try:
            manifest = parse_as(Manifest, read_json(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path}: {error}") from None
        found = {"layout": manifest.layout, "step": manifest.step, **asdict(manifest.origin)}
        for key, expected in {"layout": LAYOUT, "step": step, **asdict(origin)}.items():
            if found[key] != expected:
                raise CheckpointError(f"{path}: {key}={found[key]!r} is not this run's, which is {expected!r}")
        if len(manifest.parts) != origin.ranks:
            raise CheckpointError(f"{path}: parts: must be {origin.ranks}, not {len(manifest.parts)}")
        return manifest

    def read(self, manifest: Manifest, rank: int) -> bytes:
        """Read a rank's part.

        Raises:
            CheckpointError: it is not there, or not what was written.
        """
        path = self._part(manifest.step, rank)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}") from None
        if Written(hashlib.sha256(content).hexdigest(), len(content)) != manifest.parts[rank]:
            raise CheckpointError(f"{path}: is damaged: it is not what was written")
        return content

    def set_aside(self, step: int) -> None:
        """Give a checkpoint another name, under which nothing looks for it."""
        for path in (self._manifest(step), self._folder(step)):
            aside = path.with_name(path.name + ASIDE)
            shutil.rmtree(aside, ignore_errors=True)
            with suppress(OSError):
                path.rename(aside)

    def keep(self, steps: Container[int], rank: int) -> None:
        """Remove a rank's parts of all other steps and, as the first rank, their manifests before."""
        if rank == 0:
            for step in self.published():
                if step not in steps:
                    self._manifest(step).unlink(missing_ok=True)
        for step in self._begun():
            if step not in steps:
                with suppress(OSError):  # the last rank's part leaves it empty
                    self._part(step, rank).unlink(missing_ok=True)
                    self._folder(step).rmdir()

    def clear(self) -> None:
        """Remove all there is."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _begun(self) -> list[int]:
        """The steps that parts were written of."""
        try:
            return [int(name) for name in os.listdir(self.path) if name.isdecimal()]
        except OSError:
            return []

    def _manifest(self, step: int) -> Path:
        return self.path / f"{step}.json"

    def _folder(self, step: int) -> Path:
        return self.path / str(step)

    def _part(self, step: int, rank: int) -> Path:
        return self._folder(step) / _name(rank)


def _name(rank: int) -> str:
    return f"rank{rank}.pt"
