"""How a command's runs are started, followed, kept and reported: one answer for a whole sweep."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bench.choice import Choice, check_together, choices_of, contracts_of, plain_values, telling
from bench.config import RunConfig
from bench.engine.seat import under_torchrun
from bench.keys import STRICT, Cardinal, ConfigError, Place, Positive
from bench.record.checkpoints import Checkpointing
from bench.record.folder import RunFolder
from bench.record.records_file import RecordsFile
from bench.record.runs_dir import Item, Records, Sweep, known_record, read_records
from bench.study.launcher.contract import Launcher
from bench.study.tracking.contract import Tracker, Tracking


@dataclass(frozen=True)
class Reporting:
    """What is asked of finished runs."""

    __pydantic_config__ = STRICT
    margin: Positive | None
    """The largest difference of qualities that does not matter; None for the quality's own."""
    target: Positive | None
    """The quality to reach by the split for validation; None if nothing is asked."""


@dataclass(frozen=True)
class Settings:
    """How runs are started, followed, kept and reported. None of it bears on a result, and none is in a record."""

    __pydantic_config__ = STRICT
    tracking: Tracking
    launcher: Launcher
    runs_dir: Place
    records: Place | None
    """The file of records that runs are kept in, a line each; a run that is in it is not made again."""
    force: bool
    """Whether to run again although there is a record."""
    dry_run: bool
    """Whether to list what would run, and how long it would take, instead of running it."""
    restarts: Cardinal
    """How often a run that a rank has ended begins again by itself, from its newest checkpoint."""
    alone: bool
    """Whether every run has its machine to itself, whatever the launcher could have at once."""
    report: Reporting
    checkpoint: Checkpointing

    @property
    def again(self) -> bool:
        """Whether runs are made although they have a record: nodes without a shared disk cannot agree to skip one."""
        return self.force or under_torchrun()

    def starter(self, alone: bool = False) -> Launcher:
        """What starts the runs: the launcher or, of those that are to be ``alone``, one that has none beside another.

        Where that is not what the user has asked for, a line says so.
        """
        found = self.launcher.alone() if alone or self.alone else self.launcher
        if found != self.launcher:
            print("bench: these runs are measured: each has its machine to itself", file=sys.stderr)
        return found

    def check_run(self, config: RunConfig) -> None:
        """Check that a run goes with them.

        Raises:
            ConfigError: the tracking or the launcher refuses it.
        """
        check_together(config, choices_of(self))

    def check_launcher(self) -> None:
        """Check, before anything is written, that runs can be launched as configured.

        Raises:
            ConfigError: what it takes is not here, or it is a user's own and fails.
        """
        with telling(type(self.launcher)):
            self.launcher.check()

    def tracker(self) -> Tracker:
        """Make what follows a sweep's runs; nothing is opened before :meth:`begin`.

        Raises:
            ConfigError: it is a user's own and fails.
        """
        with telling(type(self.tracking)):
            return self.tracking.tracker()

    def begin(self, follower: Tracker, sweep: Sweep) -> None:
        """Open what keeps the runs.

        Raises:
            ConfigError: there is none, or it is a user's own and fails.
        """
        with telling(type(self.tracking)):
            follower.begin(sweep)

    def folder(self, config: RunConfig) -> RunFolder:
        """The folder that a run is kept in."""
        return RunFolder(Path(self.runs_dir, config.hash()))

    def keeping(self) -> dict[str, Any]:
        """What a task is told of its run's checkpoints."""
        return {"checkpoint": self.checkpoint, "anew": self.force, "restarts": self.restarts}

    @property
    def records_file(self) -> RecordsFile | None:
        return RecordsFile(Path(self.records)) if self.records else None

    def check_records(self) -> None:
        """Check that the file of records can be one.

        Raises:
            ConfigError: it is there, and no file that can be read.
        """
        path = self.records
        if path and os.path.exists(path) and not (os.path.isfile(path) and os.access(path, os.R_OK)):
            raise ConfigError(f"records={path!r}: is no file that can be read; allowed is one, or none yet")

    def known(self, config: RunConfig) -> dict[str, Any] | None:
        """A run's record, of the file of records or else of its folder; None where there is none that can be read."""
        kept = self.records_file.find(config.hash()) if self.records_file else None
        return kept or known_record(self.folder(config))

    def read(self, read: Callable[[dict[str, Any]], Item], only: Container[str] | None = None) -> Records[Item]:
        """Read every record that is kept, or those of the runs with a hash in ``only``; nothing broken ends it.

        Args:
            read: makes of a record what is kept of it.
        """
        if self.records_file:
            return self.records_file.read(read, only)
        return read_records(Path(self.runs_dir), read, only)

    def values(self) -> dict[str, Any]:
        """All keys as plain values; the address of a tracking server is without its password."""
        return plain_values(self)


SETTINGS_KEYS = frozenset(field.name for field in fields(Settings))
"""Their keys, and the groups among them."""


def names_points(overrides: Sequence[str]) -> bool:
    """Whether overrides name points, and not only how runs are started, followed, kept and reported."""
    return any(re.split(r"[.=]", word)[0] not in SETTINGS_KEYS for word in overrides)


def contracts() -> list[type[Choice]]:
    """The contracts of all groups: those of a run's keys, and those of its settings."""
    return [*contracts_of(RunConfig), *contracts_of(Settings)]
