"""What delay costs in quality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bench.study.report.chart import Axis, Datum, Panel, Series, colour_of, dash_of, exactly
from bench.study.report.group import groups_of
from bench.study.report.picture.contract import GROUPS_DRAWN, Picture, axis_of
from bench.study.report.result import Run


class Staleness(Picture):
    name: ClassVar[str] = "staleness"
    place: ClassVar[int] = 4
    caption: ClassVar[str] = (
        "The quality by the test split against the largest delay, with its 95% interval over seeds."
    )

    def panels(self, runs: Sequence[Run]) -> list[Panel]:
        lines: dict[str, list[Datum]] = {}
        for group in groups_of(runs):
            keys = group.first.keys
            worth = group.worth
            if worth and group.first.stale:
                delay = exactly(keys["staleness"] * (keys["stages"] - 1))
                mark = Datum(delay, worth, tuple(run.name for run in group.runs), group.label)
                lines.setdefault(f"S{keys['replicas']}{group.rest}", []).append(mark)
        series = [
            Series(name, "line", colour_of(index), sorted(marks, key=lambda mark: mark.x.mean), dash_of(index))
            for index, (name, marks) in enumerate(list(lines.items())[:GROUPS_DRAWN])
        ]
        x = Axis("staleness of the first stage: c (K - 1) updates", "whole")
        return [Panel(x, axis_of(runs[0].quality, "test"), series)]
