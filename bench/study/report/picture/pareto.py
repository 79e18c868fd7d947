"""What staleness buys and costs: accuracy against throughput."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from bench.record.metrics import ACCURACY, SPEED
from bench.study.report.group import Group
from bench.study.report.picture.contract import GROUPS_DRAWN, PALETTE, UNTIMED, Picture, bar_of


class Pareto(Picture):
    name: ClassVar[str] = "pareto"
    place: ClassVar[int] = 1
    caption: ClassVar[str] = "Accuracy against throughput. The line joins the runs that no other one beats in both."

    def draw(self, axes: Sequence[Any], groups: Sequence[Group]) -> None:
        (axis,) = axes
        comparable = []
        for index, group in enumerate(groups):
            speed, accuracy = group.mean(SPEED), group.mean(ACCURACY)
            if speed is None or accuracy is None:
                continue
            look = {"color": PALETTE[index % len(PALETTE)], "fmt": "o", "capsize": 2, "markersize": 7}
            hollow = {} if group.first.timed else {"markerfacecolor": "white"}
            axis.errorbar(speed.mean, accuracy.mean, xerr=bar_of(speed), yerr=bar_of(accuracy), **look, **hollow)
            if len(groups) <= GROUPS_DRAWN:
                place = (speed.mean, accuracy.mean)
                axis.annotate(group.label, place, (6, 5), textcoords="offset points", fontsize=8)
            if group.first.timed:
                comparable.append((speed.mean, accuracy.mean))
        front = pareto_front(comparable)
        axis.step(
            *(zip(*front, strict=True) if front else ((), ())), where="post", color="#8C8C8C", linewidth=1, zorder=0
        )
        axis.set_xlabel(f"images/s (hollow: {UNTIMED})")
        axis.set_ylabel("test accuracy")
        axis.margins(0.15)
        axis.set_xlim(left=max(0.0, axis.get_xlim()[0]))


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other one beats in one coordinate without losing in the other, by the first coordinate."""
    front: list[tuple[float, float]] = []
    for point in sorted(set(points), reverse=True):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front[::-1]
