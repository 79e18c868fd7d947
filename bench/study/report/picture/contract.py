"""What every picture of a report is: a panel or a few a workload, in a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from bench.study.report.chart import Axis, Panel
from bench.study.report.group import Group
from bench.study.report.result import Run
from bench.task.contract import Quality

GROUPS_DRAWN = 16
UNTIMED = "agents shared cores, or the oracle"


class Picture:
    """A picture of all runs of a report, a row of panels for each workload."""

    name: ClassVar[str]
    """The name of its file, without its ending."""
    place: ClassVar[int] = 100
    """Where it stands among the others on a page."""
    caption: ClassVar[str]

    def work(self, run: Run) -> str:
        """What the runs of a panel have in common, as a text."""
        return run.workload

    def shows(self, run: Run) -> bool:  # noqa: ARG002
        """Whether a run has what is drawn; a picture of no run is left out."""
        return True

    def panels(self, runs: Sequence[Run]) -> list[Panel]:
        """What is drawn of the runs of a workload: as many panels for each."""
        raise NotImplementedError


def axis_of(quality: Quality, split: str) -> Axis:
    """The axis of a quality by a split: a share in per cent, anything else in its unit."""
    unit = f", {quality.unit}" if quality.unit and not quality.is_share else ""
    words = f"{split} {quality.name.replace('_', ' ')}{unit}"
    return Axis(words, "share") if quality.is_share else Axis(words)


def not_drawn(groups: Sequence[Group]) -> str:
    """What a panel says of the groups beyond those that it has room for."""
    hidden = len(groups) - GROUPS_DRAWN
    return f"{hidden} more not drawn" if hidden > 0 else ""
