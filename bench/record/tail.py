"""Events of a run that is under way, read as they come."""

from __future__ import annotations

import contextlib
from typing import Any

from bench.record.events import event_of
from bench.record.folder import RunFolder


class Tail:
    """Reads the events since the last look: none where the folder is gone; a line that is none is passed over."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.offset = 0

    def read(self) -> list[dict[str, Any]]:
        try:
            with self.folder.events_file.open("rb") as file:
                file.seek(self.offset)
                text = file.read()
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self.offset += len(whole)
        events = []
        for line in whole.splitlines():
            with contextlib.suppress(ValueError):
                events.append(event_of(line))
        return events
