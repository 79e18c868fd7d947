"""A chart as a PNG file, by matplotlib: the same chart gives the same bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.study.report.chart import Chart, Datum, Panel, Series
from bench.study.report.figure import new_figure

PANEL_INCHES = 2.6
BESIDE_INCHES = 6.0
"""What a row of panels takes beside theirs, its legend among it."""
ROW_OF_PANELS_INCHES = 4.6
ROW_INCHES = 0.24
"""What a row of bars takes."""
LEGEND_INCHES = 0.175
"""What a row of a legend takes."""
MARKERS = {"solid": "o", "dash": "s", "dot": "D"}
STYLES = {"solid": "-", "dash": "--", "dot": ":"}


def write_png(chart: Chart, path: Path) -> None:
    """Draw a chart, a row of panels for each workload, into a file."""
    rows = [panels for _, panels in chart.workloads]
    heights = [max(ROW_OF_PANELS_INCHES, _inches(panels[-1])) for panels in rows]
    width = PANEL_INCHES * len(rows[0]) + BESIDE_INCHES
    figure = new_figure(width, sum(heights), dpi=100, layout="constrained")
    grid = figure.subplots(len(rows), len(rows[0]), squeeze=False, height_ratios=heights)
    for axes, (title, panels) in zip(grid, chart.workloads, strict=True):
        for axis, panel in zip(axes, panels, strict=True):
            _panel(axis, panel)
        axes[0].set_title(title, fontsize=9, loc="left")
        _legend(axes[-1], panels[-1])
    # Without the version of matplotlib, the same runs give the same file.
    figure.savefig(path, metadata={"Software": None})


def _inches(panel: Panel) -> float:
    """How high a panel has to be for its rows of bars, and for its legend."""
    return max(ROW_INCHES * len(panel.rows) + 1.2, LEGEND_INCHES * len(panel.series) + 0.8)


def _panel(axis: Any, panel: Panel) -> None:
    drawn = {"curve": _curve, "line": _points, "points": _points, "front": _front}
    axis.margins(0.1)
    if panel.rows:
        _bars(axis, panel)
    for series in panel.series:
        if series.look in drawn:
            drawn[series.look](axis, series)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#E6E6E6", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.set_xlabel(panel.x.title)
    axis.set_ylabel(panel.y.title)
    for side, what in ((axis.xaxis, panel.x), (axis.yaxis, panel.y)):
        if what.form == "whole":
            side.get_major_locator().set_params(integer=True)
        if what.form == "share":
            side.set_major_formatter(_percent())


def _percent() -> Any:
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1.0)


def _curve(axis: Any, series: Series) -> None:
    x, y = _means(series.marks)
    style, width = STYLES[series.dash], 0.7 if series.faint else 1.5
    axis.plot(x, y, style, color=series.colour, label=series.label, linewidth=width)
    ends = [mark.y[1:3] for mark in series.marks]
    axis.fill_between(x, *zip(*ends, strict=True), color=series.colour, alpha=0.15, linewidth=0) if ends else None


def _points(axis: Any, series: Series) -> None:
    x, y = _means(series.marks)
    errors = {"xerr": _errors([mark.x for mark in series.marks]), "yerr": _errors([mark.y for mark in series.marks])}
    style = STYLES[series.dash] if series.look == "line" else "none"
    hollow = {"markerfacecolor": "white"} if series.faint else {}
    look = {
        "color": series.colour,
        "label": series.label,
        "linestyle": style,
        "marker": MARKERS[series.dash],
        "markersize": 6,
    }
    axis.errorbar(x, y, **errors, **look, **hollow, capsize=2)


def _front(axis: Any, series: Series) -> None:
    axis.step(*_means(series.marks), where="post", color=series.colour, linewidth=1, zorder=0)


def _bars(axis: Any, panel: Panel) -> None:
    lefts = [0.0] * len(panel.rows)
    for series in panel.series:
        widths, rows = _means(series.marks)
        axis.barh(rows, widths, left=lefts, color=series.colour, label=series.label, height=0.8, edgecolor="white")
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    axis.set_yticks(range(len(panel.rows)), panel.rows, fontsize=8)
    axis.invert_yaxis()
    axis.margins(0, 0.01)


def _legend(axis: Any, panel: Panel) -> None:
    """Say beside a row of panels what its series are."""
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
        axis.legend(handles, labels, fontsize=8, frameon=False, title=panel.note or None, **place)


def _means(marks: Sequence[Datum]) -> tuple[list[float], list[float]]:
    return [mark.x.mean for mark in marks], [mark.y.mean for mark in marks]


def _errors(intervals: Sequence[Any]) -> list[list[float]]:
    """The lengths of error bars, down and up from the means; 0 where there is no interval."""
    down = [each.mean - each.low for each in intervals]
    up = [each.high - each.mean for each in intervals]
    return [[0.0 if math.isnan(length) else length for length in lengths] for lengths in (down, up)]
