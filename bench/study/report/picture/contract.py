"""What every picture of a report is: a panel or two a workload, drawn in a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from bench.plan.interval import Interval
from bench.study.report.group import Group
from bench.study.report.result import Run

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#6B4E71", "#8C8C8C")
"""Okabe and Ito's colours, which the colour-blind tell apart, and two more."""
GROUPS_DRAWN = 16
UNTIMED = "agents shared cores, or the oracle"


class Picture:
    """A picture of all runs of a report, a row of panels for each workload."""

    name: ClassVar[str]
    """The name of its file, without its ending."""
    place: ClassVar[int] = 100
    """Where it stands among the others on a page."""
    caption: ClassVar[str]
    panels: ClassVar[int] = 1
    """Panels of a workload, beside one another."""
    pad: ClassVar[float] = 6
    """Points between a panel and its title."""

    def work(self, run: Run) -> str:
        """What the runs of a panel have in common, as a text."""
        return run.workload

    def draw(self, axes: Sequence[Any], groups: Sequence[Group]) -> None:
        """Draw the groups of a workload into its panels."""
        raise NotImplementedError


def bar_of(interval: Interval) -> list[list[float]]:
    """The lengths of an error bar, down and up from the mean; nothing where there is no interval."""
    if interval.n < 2:
        return [[0.0], [0.0]]
    return [[interval.mean - interval.low], [interval.high - interval.mean]]
