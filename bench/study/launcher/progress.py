"""How far each run is, on stderr: a bar on a terminal, one under the other, else one line an epoch."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from types import TracebackType
from typing import Any, TextIO

from bench.record.folder import RunFolder
from bench.record.metrics import SPEED, judged_by, on_the_way
from bench.record.tail import Tail
from bench.task.judgement import OLDEST, judgement_of

POLL_SECONDS = 0.2
BAR = "{desc} |{bar}| {percentage:3.0f}% [{elapsed}<{remaining}]"


class Progress:
    """Follows ``events.jsonl`` from a thread of the parent, so that no rank spends time on showing anything.

    Enter it once the folder is cleared. ``title`` says what runs (``run 1/6 K2 S1 c2``).
    """

    def __init__(self, folder: RunFolder, title: str) -> None:
        self.tail = Tail(folder)
        self.title = title
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._follow, name="progress", daemon=True)

    def __enter__(self) -> Progress:
        # The stream of this moment: a test or a sweep may have replaced the one of import time.
        self.view: Bar | Lines = (Bar if _has_room(sys.stderr) else Lines)(self.title, sys.stderr)
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop.set()
        self.thread.join()
        with contextlib.suppress(OSError):
            self.view.close()

    def _follow(self) -> None:
        # A terminal that was closed, or a log on a full disk, takes no more.
        with contextlib.suppress(OSError):
            while not self.stop.wait(POLL_SECONDS):
                self._show()
            self._show()

    def _show(self) -> None:
        for event in self.tail.read():
            self.view.show(event)


class Lines:
    """Prints one line an epoch, for logs."""

    def __init__(self, title: str, stream: TextIO) -> None:
        self.title = title
        self.stream = stream
        self.epochs, self.judgement = 0, OLDEST

    def show(self, event: dict[str, Any]) -> None:
        if event["event"] == "started":
            self.epochs, self.judgement = event["epochs"], judgement_of(event)
        elif event["event"] == "epoch":
            number = f"epoch {event['epoch'] + 1}/{self.epochs}"
            words = [self.title, number, f"loss {_number(event, 'loss/train', '.4f')}"]
            worth = on_the_way(event, self.judgement.quality)
            words.append(f"{judged_by(event)} {self.judgement.quality.name} {self.judgement.shown(worth)}")
            words.append(f"{_number(event, SPEED, '.0f')} {self.judgement.short}/s")
            self.stream.write(" · ".join(words) + "\n")
            self.stream.flush()

    def close(self) -> None:
        pass


class Bar:
    """Draws a bar of updates, with the time that remains."""

    def __init__(self, title: str, stream: TextIO) -> None:
        from tqdm import tqdm

        self.title = title
        self.bar = tqdm(desc=title, file=stream, bar_format=BAR, dynamic_ncols=True, miniters=1)
        self.epochs, self.judgement = 0, OLDEST

    def show(self, event: dict[str, Any]) -> None:
        if event["event"] == "started":
            self.epochs, self.judgement = event["epochs"], judgement_of(event)
            self.bar.reset(total=event["steps"])
        elif event["event"] in ("progress", "epoch"):
            speed = _number(event, "units_per_second" if event["event"] == "progress" else SPEED, ".0f")
            words = [self.title, f"epoch {event['epoch'] + 1}/{self.epochs}", f"{speed} {self.judgement.short}/s"]
            self.bar.set_description_str(" · ".join(words), refresh=False)
            self.bar.update(event["step"] - self.bar.n)

    def close(self) -> None:
        self.bar.close()


def print_aside(line: str) -> None:
    """Print a line to stderr, above whatever bars there are."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


def _has_room(stream: TextIO) -> bool:
    """Whether a bar can be drawn: on a terminal, unless it says that it has no columns or no rows."""
    if not stream.isatty():
        return False
    with contextlib.suppress(OSError, ValueError):
        return all(os.get_terminal_size(stream.fileno()))
    return True


def _number(event: dict[str, Any], key: str, form: str) -> str:
    """A number of an event as text; a diverged run may lack it."""
    value = event.get(key)
    if value is None:
        return "-"
    return format(value, form if abs(value) < 1e6 else ".1e")
