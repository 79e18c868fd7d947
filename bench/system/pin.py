"""What of the machine a process keeps to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pin:
    """The cores that a process runs on, and what it is told besides."""

    cores: tuple[int, ...] = ()
    """Their numbers; none for all that the process that starts it may use."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the process's own."""

    def keep(self) -> None:
        """Keep this process, and those that it starts from now on, to the cores."""
        if self.cores:
            os.sched_setaffinity(0, self.cores)
