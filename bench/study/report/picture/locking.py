"""Where the time goes: computing, waiting and the rest, by agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from bench.plan.sections import SECTIONS
from bench.study.report.group import Group
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
    caption: ClassVar[str] = "Where every agent's wall time goes."
    pad: ClassVar[float] = 38

    def work(self, run: Run) -> str:
        return run.network

    def draw(self, axes: Sequence[Any], groups: Sequence[Group]) -> None:
        (axis,) = axes
        bars = [(group, agent) for group in groups for agent in range(len(group.first.agents))][:BARS_DRAWN]
        bottoms = [0.0] * len(bars)
        parts: dict[tuple[str, str], list[str]] = {}
        for section in SECTIONS:
            own = (section.title, section.share_colour or section.colour)
            parts.setdefault(PARTS.get(section.counts, own), []).append(section.name)
        for (part, colour), kinds in parts.items():
            heights = [_share(group, agent, kinds) for group, agent in bars]
            axis.bar(range(len(bars)), heights, bottom=bottoms, color=colour, label=part, width=0.8, edgecolor="white")
            bottoms = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
        labels = []
        for group, agent in bars:
            stage, replica, _ = group.first.agents[agent]
            labels.append(f"{group.label}\nstage {stage}" + (f", replica {replica}" if replica else ""))
        axis.set_xticks(range(len(bars)), labels, rotation=90, fontsize=7)
        axis.set_ylabel("share of the wall time")
        axis.set_ylim(0, 1.02)
        axis.legend(ncols=3, fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0))


def _share(group: Group, agent: int, kinds: Sequence[str]) -> float:
    shares = [
        sum(run.agents[agent][2].get(kind, 0.0) for kind in kinds) for run in group.runs if agent < len(run.agents)
    ]
    return sum(shares) / len(shares)
