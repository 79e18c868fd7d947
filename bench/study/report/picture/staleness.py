"""What delay costs in accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from bench.plan.interval import Interval
from bench.record.metrics import ACCURACY
from bench.study.report.group import Group
from bench.study.report.picture.contract import GROUPS_DRAWN, PALETTE, Picture, bar_of


class Staleness(Picture):
    name: ClassVar[str] = "staleness"
    place: ClassVar[int] = 4
    caption: ClassVar[str] = "Test accuracy against the largest delay."

    def draw(self, axes: Sequence[Any], groups: Sequence[Group]) -> None:
        (axis,) = axes
        lines: dict[str, list[tuple[int, Interval]]] = {}
        for group in groups:
            keys = group.first.keys
            accuracy = group.mean(ACCURACY)
            if accuracy and group.first.stale:
                name = f"S{keys['replicas']}{group.rest}"
                lines.setdefault(name, []).append((keys["staleness"] * (keys["stages"] - 1), accuracy))
        for index, (name, points) in enumerate(list(lines.items())[:GROUPS_DRAWN]):
            ordered = sorted(points, key=lambda point: point[0])
            errors = [[bar_of(accuracy)[end][0] for _, accuracy in ordered] for end in (0, 1)]
            places = [delay for delay, _ in ordered]
            heights = [accuracy.mean for _, accuracy in ordered]
            axis.errorbar(
                places, heights, yerr=errors, fmt="o-", capsize=3, color=PALETTE[index % len(PALETTE)], label=name
            )
        axis.set_xlabel("staleness of the first stage: c (K - 1) updates")
        axis.set_ylabel("test accuracy (95% interval over seeds)")
        axis.xaxis.get_major_locator().set_params(integer=True)
        if lines:
            axis.legend(fontsize=8, frameon=False)
