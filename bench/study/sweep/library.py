"""Where configurations lie: the suite's own, and behind them those of the user."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import bench
from bench.keys import ConfigError

CONF = Path(bench.__file__).parent / "conf"
"""The suite's folder of configurations; in a checkout, a link to the folder beside the package."""
USERS = Path("conf")
"""The user's folder of configurations, where none is named."""


@dataclass(frozen=True)
class Primary:
    """The file that a verb composes from, and where its choices lie."""

    file: str
    """The file's name in the suite's folder, without its ending."""
    own: tuple[str, ...] = ()
    """The file's top-level keys that are not a run's."""
    folder: Path | None = None
    """The user's folder of configurations, which adds choices, experiments and presets."""
    more: tuple[Path, ...] = ()
    """Folders that ``hydra.searchpath`` names, which add the same."""

    def beside(self, named: str | None) -> Primary:
        """Add the user's folder: the one that ``--config-dir`` names, or ``conf`` of the folder we are in.

        Raises:
            ConfigError: there is no folder of that name.
        """
        folder = USERS if named is None else Path(named)
        # A name may be one that no file can have.
        if os.path.isdir(folder) and named != "":
            return replace(self, folder=None if folder.samefile(CONF) else folder.absolute())
        if named is not None:
            raise ConfigError(f"--config-dir={named!r}: there is no such folder")
        return replace(self, folder=None)

    @property
    def places(self) -> Iterator[Path]:
        """The folders that a choice is looked for in, in that order."""
        yield CONF
        if self.folder:
            yield self.folder
        yield from self.more

    def choices(self, group: str) -> list[str]:
        """What a group has to choose from; nothing if there is no such group."""
        return sorted({file.stem for place in self.places for file in (place / group).glob("*.yaml")})

    @property
    def words(self) -> list[str]:
        """The command-line words by which another command finds the user's folder, wherever it is started."""
        return ["--config-dir", str(self.folder)] if self.folder else []

    def check_choice(self, group: str, choice: str) -> None:
        """Hold a choice that was made against the user's folder.

        Raises:
            ConfigError: the user has another file of that name, which would have no effect.
        """
        files = [file for place in self.places if (file := place / group / f"{choice}.yaml").is_file()]
        if len({file.read_bytes() for file in files}) > 1:
            wins = f"the suite has such a file too, which wins over {files[-1]}; rename it"
            raise ConfigError(f"{group}={choice!r}: {wins}")


RUN = Primary("config")


def typed(overrides: Sequence[str], named: str | None) -> list[str]:
    """What a user has typed to compose, the user's folder included where it was named."""
    return [*(["--config-dir", named] if named else []), *overrides]
