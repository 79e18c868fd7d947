"""How far rates stay from what is stable along the run, of runs that ``lr.margin_every`` made tell it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from bench.plan.interval import ratio
from bench.study.report.chart import GREY, Axis, Dash, Datum, Panel, Series, colour_of, exactly
from bench.study.report.group import Group, groups_of
from bench.study.report.picture.contract import GROUPS_DRAWN, Picture, not_drawn
from bench.study.report.result import Epoch, Run

UPDATES = Axis("updates", "whole")


class Margins(Picture):
    name: ClassVar[str] = "margin"
    place: ClassVar[int] = 5
    caption: ClassVar[str] = (
        "The learning rate, the largest one with which every stage's update is stable by the curvature of the loss at "
        "that flush point (dashed), and the margin, the first over the second: geometric means over seeds, with 95% "
        "intervals."
    )

    def shows(self, run: Run) -> bool:
        return any(epoch.margin for epoch in run.epochs)

    def panels(self, runs: Sequence[Run]) -> list[Panel]:
        groups = groups_of(runs)
        note, drawn = not_drawn(groups), list(enumerate(groups[:GROUPS_DRAWN]))
        rates = [_series(index, group, lambda epoch: epoch.rate) for index, group in drawn]
        limits = [_series(index, group, lambda epoch: epoch.rate / _told(epoch), "dash") for index, group in drawn]
        margins = [_series(index, group, _told) for index, group in drawn]
        ends = [place.x for series in margins for place in (*series.marks[:1], *series.marks[-1:])]
        edge = [Datum(min(ends), exactly(1.0), ()), Datum(max(ends), exactly(1.0), ())] if ends else []
        return [
            Panel(UPDATES, Axis("learning rate"), [*rates, *limits], "rate and limit", note=note),
            Panel(
                UPDATES, Axis("margin"), [*margins, Series("stable below", "front", GREY, edge)], "margin", note=note
            ),
        ]


def _series(index: int, group: Group, take: Callable[[Epoch], float], dash: Dash = "solid") -> Series:
    """A number of the epochs that all runs of a group have a margin of, over updates."""
    names = tuple(run.name for run in group.runs)
    steps = [
        step for step in zip(*[run.epochs for run in group.runs], strict=False) if all(each.margin for each in step)
    ]
    marks = [
        Datum(exactly(float(step[0].updates)), ratio([take(epoch) for epoch in step], [1.0] * len(step)), names)
        for step in steps
    ]
    label = f"{group.label}, limit" if dash == "dash" else group.label
    return Series(label, "curve", colour_of(index), marks, dash)


def _told(epoch: Epoch) -> float:
    assert epoch.margin
    return epoch.margin
