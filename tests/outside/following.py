from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.config import RunConfig
from bench.keys import Place
from bench.record.folder import RunFolder, WithoutResult
from bench.study.tracking.contract import Tracker, Tracking


@dataclass(frozen=True)
class Journal(Tracking):
    """A line a run in a file of text: how it has ended."""

    name: ClassVar[str] = "journal"
    file: Place
    """The file that lines are added to."""

    def tracker(self) -> Tracker:
        return Lines(Path(self.file))

    def where(self, command: str) -> str | None:
        return self.file


class Lines(Tracker):
    """Adds a line to a file whenever a run has ended."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def deliver(self, folder: RunFolder) -> bool:
        how = "has its record" if folder.record.exists() else "has ended without one"
        return self._add(f"{folder.path.name} {how}")

    def fail(self, config: RunConfig, message: str, status: WithoutResult) -> None:
        self._add(f"{config.hash()} {status}: {message}")

    def _add(self, line: str) -> bool:
        known = self.file.read_text().splitlines() if self.file.exists() else []
        self.file.write_text("".join(f"{each}\n" for each in dict.fromkeys([*known, line])))
        return line not in known
