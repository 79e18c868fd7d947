"""The pictures of a report, drawn into a folder: each is a file of ``picture``, found by its place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.choice import found_beside
from bench.study.report.figure import drawn, new_figure
from bench.study.report.group import panels_of
from bench.study.report.picture.contract import Picture
from bench.study.report.result import Run


def draw_all(runs: Sequence[Run], folder: Path) -> dict[Path, str]:
    """Draw every picture into ``folder``; a row of panels for each workload.

    Returns:
        The captions of those that could be drawn, by path.
    """
    found = {}
    for kind in found_beside(Picture).values():
        path = folder / f"{kind.name}.png"
        if drawn(path, partial(_draw, kind(), runs, path)):
            found[path] = kind.caption
    return found


def _draw(picture: Picture, runs: Sequence[Run], path: Path) -> None:
    workloads = panels_of(runs, picture.work)
    figure = new_figure(4.6 * picture.panels + 4, 4.6 * len(workloads), dpi=100, layout="constrained")
    grid = figure.subplots(len(workloads), picture.panels, squeeze=False)
    for axes, (title, groups) in zip(grid, workloads, strict=True):
        picture.draw(axes, groups)
        axes[0].set_title(title, fontsize=9, loc="left", pad=picture.pad)
        for axis in axes:
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(color="#E6E6E6", linewidth=0.8)
            axis.set_axisbelow(True)
    figure.savefig(path)
