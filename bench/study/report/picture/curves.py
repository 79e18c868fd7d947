"""How accuracy grows, over seconds and over epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from bench.plan.interval import mean
from bench.study.report.group import Group
from bench.study.report.picture.contract import GROUPS_DRAWN, PALETTE, UNTIMED, Picture
from bench.study.report.result import curves_of


class Curves(Picture):
    name: ClassVar[str] = "curves"
    place: ClassVar[int] = 3
    caption: ClassVar[str] = "Accuracy over training time and over epochs."
    panels: ClassVar[int] = 2

    def draw(self, axes: Sequence[Any], groups: Sequence[Group]) -> None:
        for axis, name in zip(axes, ("seconds", "number"), strict=True):
            for index, group in enumerate(groups[:GROUPS_DRAWN]):
                whole_runs = [run for run in group.runs if not run.diverged] or group.runs
                steps = list(zip(*[run.epochs for run in whole_runs], strict=False))
                whole = [step for step in steps if all(epoch.accuracy is not None for epoch in step)]
                places = [mean([float(getattr(epoch, name)) for epoch in step]).mean for step in whole]
                values = [[epoch.accuracy or 0.0 for epoch in step] for step in whole]
                colour = PALETTE[index % len(PALETTE)]
                style = ("-", "--", ":")[index // len(PALETTE) % 3]
                width = 1.5 if name == "number" or group.first.timed else 0.7
                axis.plot(places, [sum(v) / len(v) for v in values], style, color=colour, label=group.label, lw=width)
                axis.fill_between(
                    places, list(map(min, values)), list(map(max, values)), color=colour, alpha=0.15, linewidth=0
                )
            axis.set_xlabel({"seconds": f"seconds of training (thin: {UNTIMED})", "number": "epochs"}[name])
        runs = [run for group in groups for run in group.runs]
        axes[0].set_ylabel(f"{curves_of(runs)} accuracy (band: least to most over seeds)")
        hidden = len(groups) - GROUPS_DRAWN
        axes[1].legend(fontsize=8, frameon=False, title=f"{hidden} more not drawn" if hidden > 0 else None)
