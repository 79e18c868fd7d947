"""The pictures of a report: each is a file of ``picture``, found by its place, and drawn by whoever draws charts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.choice import found_beside
from bench.study.report.chart import Chart
from bench.study.report.figure import drawn
from bench.study.report.group import workloads_of
from bench.study.report.picture.contract import Picture
from bench.study.report.png import write_png
from bench.study.report.result import Run


def draw_all(runs: Sequence[Run], folder: Path) -> list[Chart]:
    """Draw every picture that some run has numbers for into ``folder``, as a PNG file of its name.

    Returns:
        Those that could be drawn.
    """
    charts: list[Chart] = []
    for kind in found_beside(Picture).values():
        path, picture = folder / f"{kind.name}.png", kind()
        if shown := list(filter(picture.shows, runs)):
            drawn(path, partial(_draw, picture, shown, path, charts))
    return charts


def _draw(picture: Picture, runs: Sequence[Run], path: Path, charts: list[Chart]) -> None:
    chart = chart_of(picture, runs)
    write_png(chart, path)
    charts.append(chart)


def chart_of(picture: Picture, runs: Sequence[Run]) -> Chart:
    """What a picture says of runs, a row of panels for each workload."""
    workloads = [(title, picture.panels(members)) for title, members in workloads_of(runs, picture.work)]
    return Chart(picture.name, picture.caption, workloads)
