"""Where the time goes: computing, waiting and the rest, by agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bench.plan.sections import SECTIONS
from bench.study.report.chart import Axis, Datum, Panel, Series, exactly
from bench.study.report.group import Group, groups_by_machine
from bench.study.report.picture.contract import Picture
from bench.study.report.result import Run

BARS_DRAWN = 32
PARTS = {
    "compute": ("computing", "#009E73"),
    "communication": ("communicating", "#6B4E71"),
    "data": ("data, other", "#D9D9D9"),
    "other": ("data, other", "#D9D9D9"),
}
"""What the shares of the wall time are called, and their colours, by how their seconds count; each wait is its own."""


class Locking(Picture):
    name: ClassVar[str] = "locking"
    place: ClassVar[int] = 2
    caption: ClassVar[str] = "Where every agent's wall time goes, by stage: the mean over seeds."

    def work(self, run: Run) -> str:
        return run.network

    def panels(self, runs: Sequence[Run]) -> list[Panel]:
        bars = [(group, agent) for group in groups_by_machine(runs) for agent in range(len(group.first.agents))]
        drawn, hidden = bars[:BARS_DRAWN], len(bars) - BARS_DRAWN
        parts: dict[tuple[str, str], list[str]] = {}
        for section in SECTIONS:
            own = (section.title, section.share_colour or section.colour)
            parts.setdefault(PARTS.get(section.counts, own), []).append(section.name)
        series = [_part(*part, kinds, drawn) for part, kinds in parts.items()]
        note = f"{hidden} more agents not drawn" if hidden > 0 else ""
        rows = [_row(*bar) for bar in drawn]
        return [Panel(Axis("share of the wall time", "share"), Axis(""), series, rows=rows, note=note)]


def _row(group: Group, agent: int) -> str:
    stage, replica, _ = group.first.agents[agent]
    return f"{group.label}, stage {stage}" + (f", replica {replica}" if replica else "")


def _part(name: str, colour: str, kinds: Sequence[str], bars: Sequence[tuple[Group, int]]) -> Series:
    marks = [
        Datum(exactly(_share(group, agent, kinds)), exactly(row), tuple(run.name for run in group.runs))
        for row, (group, agent) in enumerate(bars)
    ]
    return Series(name, "bars", colour, marks)


def _share(group: Group, agent: int, kinds: Sequence[str]) -> float:
    shares = [
        sum(run.agents[agent][2].get(kind, 0.0) for kind in kinds) for run in group.runs if agent < len(run.agents)
    ]
    return sum(shares) / len(shares)
