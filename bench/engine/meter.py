"""Where an agent's time goes.

An agent is always in exactly one section. Entering a section costs one timestamp and one append; everything else
happens at the flush, when the clock stands still. What the system takes of the wall time before the first section and
after the last one counts as ``other``, so that an agent's seconds add up to its wall time by construction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from bench.plan.sections import KINDS


class Span(NamedTuple):
    """One section, for the timeline; its times are seconds from the start of its epoch."""

    kind: str
    batch: int
    tick: int
    start: float
    stop: float


class _Section(NamedTuple):
    kind: str
    batch: int
    tick: int
    mark: Any


@dataclass
class Meter:
    """Sections of one agent's time, by kind.

    On a CPU a section ends where the host says so. On a GPU the marks are events in the stream of the computation,
    since the host's clock around asynchronous calls would measure nothing but how fast they are queued.
    """

    device: torch.device
    window: int = 12
    """Ticks with work that the timeline keeps, from the middle of the first epoch."""
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    wall_seconds: float = 0.0
    processor_seconds: float = 0.0
    """Seconds that this process's threads took of any core on the clock; agents that share cores wait for these too."""
    spans: list[Span] = field(default_factory=list)
    _sections: list[_Section] = field(default_factory=list)
    _tick: int = 0
    _started: float = 0.0
    _busy: float = 0.0

    def __post_init__(self) -> None:
        self._now: Callable[[], Any] = _event if self.device.type == "cuda" else time.perf_counter

    def start(self) -> None:
        """Start the clock: the agent enters ``other``."""
        self._started, self._busy = time.perf_counter(), time.process_time()
        self._tick = -1
        self.enter("other")

    def tick(self, tick: int) -> None:
        self._tick = tick

    def enter(self, kind: str, batch: int = -1) -> None:
        """End the section that the agent is in, and begin another."""
        self._sections.append(_Section(kind, batch, self._tick, self._now()))

    def stop(self) -> float:
        """Stop the clock, add up the sections, and return the seconds since :meth:`start`."""
        end = self._now()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        wall = time.perf_counter() - self._started
        self.processor_seconds += time.process_time() - self._busy
        spans = list(self._resolved(end))
        self._sections.clear()
        for span in spans:
            self.seconds[span.kind] += span.stop - span.start
        self.seconds["other"] += wall - spans[-1].stop
        if not self.spans:
            ticks = sorted({span.tick for span in spans if span.tick >= 0})
            first = max((len(ticks) - self.window) // 2, 0)
            kept = set(ticks[first : first + self.window])
            self.spans = [span for span in spans if span.tick in kept]
        self.wall_seconds += wall
        return wall

    def state(self) -> dict[str, Any]:
        """The seconds and the timeline so far, as plain values."""
        clocks = {"wall_seconds": self.wall_seconds, "processor_seconds": self.processor_seconds}
        return {"seconds": dict(self.seconds), "spans": [list(span) for span in self.spans], **clocks}

    def load(self, state: dict[str, Any]) -> None:
        """Go on where a :meth:`state` stood."""
        self.seconds |= state["seconds"]
        self.spans = [Span(*span) for span in state["spans"]]
        self.wall_seconds, self.processor_seconds = state["wall_seconds"], state["processor_seconds"]

    def _resolved(self, end: Any) -> Iterator[Span]:
        origin = self._sections[0].mark
        marks = [_elapsed(origin, section.mark) for section in self._sections] + [_elapsed(origin, end)]
        for section, start, stop in zip(self._sections, marks, marks[1:], strict=False):
            yield Span(section.kind, section.batch, section.tick, start, stop)


def _event() -> Any:
    event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


def _elapsed(origin: Any, mark: Any) -> float:
    """Seconds between two marks."""
    if isinstance(mark, float):
        return mark - float(origin)
    return float(origin.elapsed_time(mark)) / 1e3
