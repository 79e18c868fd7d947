"""What staleness buys and costs: quality against throughput."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bench.record.metrics import SPEED
from bench.study.report.chart import GREY, Axis, Datum, Panel, Series, colour_of, dash_of, exactly
from bench.study.report.group import groups_by_machine
from bench.study.report.picture.contract import UNTIMED, Picture, axis_of
from bench.study.report.result import Run
from bench.task.contract import Quality


class Pareto(Picture):
    name: ClassVar[str] = "pareto"
    place: ClassVar[int] = 1
    caption: ClassVar[str] = "Quality against throughput. The line joins the runs that no other one beats in both."

    def panels(self, runs: Sequence[Run]) -> list[Panel]:
        series: list[Series] = []
        comparable: dict[str, list[tuple[float, float]]] = {}
        for index, group in enumerate(groups_by_machine(runs)):
            speed, worth = group.mean(SPEED), group.worth
            if speed is None or worth is None:
                continue
            mark = Datum(speed, worth, tuple(run.name for run in group.runs))
            series.append(
                Series(group.label, "points", colour_of(index), [mark], dash_of(index), faint=not group.first.timed)
            )
            if group.first.timed:
                machine = " ".join(group.first.host.values())
                comparable.setdefault(machine, []).append((speed.mean, worth.mean))
        units, quality = runs[0].judgement.units, runs[0].quality
        axes = Axis(f"{units}/s (hollow: {UNTIMED})"), axis_of(quality, "test")
        return [Panel(*axes, [*(_front(points, quality) for points in comparable.values()), *series])]


def _front(points: Sequence[tuple[float, float]], quality: Quality) -> Series:
    """The front of a machine's own speeds."""
    front = pareto_front([(speed, quality.gain(worth)) for speed, worth in points])
    marks = [Datum(exactly(speed), exactly(quality.gain(worth)), ()) for speed, worth in front]
    return Series("front", "front", GREY, marks)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other one beats in one coordinate without losing in the other, by the first coordinate."""
    front: list[tuple[float, float]] = []
    for point in sorted(set(points), reverse=True):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front[::-1]
