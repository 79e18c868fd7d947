"""``tracking=none``: nobody is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.config import RunConfig
from bench.record.folder import RunFolder, WithoutResult
from bench.record.runs_dir import Sweep


class NoTracker:
    """Follows nothing."""

    def prepare(self) -> None:
        pass

    def begin(self, sweep: Sweep) -> None:
        pass

    def start(self, config: RunConfig) -> None:
        pass

    def deliver(self, folder: RunFolder) -> bool:  # noqa: ARG002
        return False

    def fail(self, config: RunConfig, message: str, status: WithoutResult) -> None:
        pass

    def end(self, summary: str, failed: int, files: Sequence[Path] = ()) -> None:
        pass

    def interrupt(self) -> None:
        pass
