"""How quality grows, over updates, epochs and seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bench.plan.interval import Interval, mean
from bench.study.report.chart import Axis, Datum, Panel, Series, colour_of, dash_of, exactly
from bench.study.report.group import Group, groups_by_machine, groups_of
from bench.study.report.picture.contract import GROUPS_DRAWN, UNTIMED, Picture, axis_of, not_drawn
from bench.study.report.quality import mean_quality
from bench.study.report.result import Epoch, Run, curves_of

OVER = {
    "updates": Axis("updates", "whole"),
    "epochs": Axis("epochs", "whole"),
    "seconds": Axis(f"seconds of training (thin: {UNTIMED})"),
}


class Curves(Picture):
    name: ClassVar[str] = "curves"
    place: ClassVar[int] = 3
    caption: ClassVar[str] = (
        "The quality over updates, epochs and seconds of training, with its 95% interval over seeds."
    )

    def panels(self, runs: Sequence[Run]) -> list[Panel]:
        return [_panel(over, runs) for over in OVER]


def _panel(over: str, runs: Sequence[Run]) -> Panel:
    groups = groups_by_machine(runs) if over == "seconds" else groups_of(runs)
    series = [_curve(index, group, over) for index, group in enumerate(groups[:GROUPS_DRAWN])]
    y = axis_of(runs[0].quality, curves_of(runs))
    return Panel(OVER[over], y, series, f"over {over}", note=not_drawn(groups))


def _curve(index: int, group: Group, over: str) -> Series:
    """The curve of the runs that have not diverged, as long as the shortest; of all of them if none is left."""
    runs = [run for run in group.runs if not run.diverged] or group.runs
    steps = zip(*[run.epochs for run in runs], strict=False)
    whole = [step for step in steps if all(epoch.quality is not None for epoch in step)]
    names = tuple(run.name for run in runs)
    means = [mean_quality(runs, [epoch.quality or 0.0 for epoch in step], runs[0].curves) for step in whole]
    marks = [Datum(_place(step, over), each, names) for step, each in zip(whole, means, strict=True)]
    thin = over == "seconds" and not group.first.timed
    return Series(group.label, "curve", colour_of(index), marks, dash_of(index), faint=thin)


def _place(step: Sequence[Epoch], over: str) -> Interval:
    """How far the runs are: their mean, as seconds are each run's own."""
    found = {"updates": step[0].updates, "epochs": step[0].number}
    return exactly(float(found.get(over, mean([epoch.seconds for epoch in step]).mean)))
