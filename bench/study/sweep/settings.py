"""How a command's runs are started, followed and kept: one answer for a whole sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.choice import Choice, check_together, choices_of, contracts_of, plain_values, telling
from bench.config import RunConfig
from bench.engine.seat import under_torchrun
from bench.keys import STRICT, Place
from bench.record.folder import RunFolder
from bench.record.runs_dir import Sweep
from bench.study.launcher.contract import Launcher
from bench.study.tracking.contract import Tracker, Tracking


@dataclass(frozen=True)
class Settings:
    """How runs are started, followed and kept. None of it bears on a result, and none is in a record."""

    __pydantic_config__ = STRICT
    tracking: Tracking
    launcher: Launcher
    runs_dir: Place
    force: bool
    """Whether to run again although there is a record."""
    dry_run: bool
    """Whether to list what would run, and how long it would take, instead of running it."""

    @property
    def again(self) -> bool:
        """Whether runs are made although they have a record: nodes without a shared disk cannot agree to skip one."""
        return self.force or under_torchrun()

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

    def values(self) -> dict[str, Any]:
        """All keys as plain values; the address of a tracking server is without its password."""
        return plain_values(self)


def contracts() -> list[type[Choice]]:
    """The contracts of all groups: those of a run's keys, and those of its settings."""
    return [*contracts_of(RunConfig), *contracts_of(Settings)]
