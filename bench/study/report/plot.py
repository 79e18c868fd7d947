"""A chart as plotly draws it: plain values for the page's script, which adds the page's colours.

Their names are those of plotly.js: https://plotly.com/javascript/reference/
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from bench.plan.interval import Interval
from bench.study.report.chart import Axis, Chart, Datum, Panel, Series

ROW_PIXELS = 22
"""What a row of bars takes."""
HEIGHT = 420
SYMBOLS = {"solid": "circle", "dash": "square", "dot": "diamond"}
WHOLE_TICKS = 10
"""As far reaches an axis of whole numbers that has a tick at each."""
DIGITS = 6
"""Significant digits of a place."""


def plots_of(chart: Chart) -> list[dict[str, Any]]:
    """What the page's script is told of each workload: an ``id``, its ``title``, and ``panels`` to choose from."""
    return [
        {"id": f"{chart.name}-{number}", "title": title, "panels": [_plot(panel) for panel in panels]}
        for number, (title, panels) in enumerate(chart.workloads)
    ]


def _plot(panel: Panel) -> dict[str, Any]:
    marks = [mark for series in panel.series for mark in series.marks]
    x, y = _axis(panel.x, [mark.x.mean for mark in marks]), _axis(panel.y, [mark.y.mean for mark in marks])
    layout: dict[str, Any] = {"xaxis": x, "yaxis": y, "height": HEIGHT, "hovermode": "closest"}
    if panel.rows:
        names = [html.escape(row, quote=False) for row in panel.rows]
        layout["yaxis"] |= {"tickvals": [*range(len(names))], "ticktext": names, "autorange": "reversed"}
        layout |= {"barmode": "stack", "bargap": 0.2, "height": max(HEIGHT, ROW_PIXELS * len(names) + 120)}
    data = [trace for series in panel.series for trace in _traces(series, panel)]
    return {"name": panel.name, "note": panel.note, "data": data, "layout": layout}


def _axis(axis: Axis, places: Sequence[float]) -> dict[str, Any]:
    forms: dict[str, dict[str, Any]] = {"number": {}, "whole": {"tickformat": ",d"}, "share": {"tickformat": "~%"}}
    if axis.form == "whole" and places and max(places) - min(places) <= WHOLE_TICKS:
        forms["whole"]["dtick"] = 1
    return {"title": {"text": axis.title}, "automargin": True, "zeroline": False, **forms[axis.form]}


def _traces(series: Series, panel: Panel) -> list[dict[str, Any]]:
    """A series, behind it the band of its intervals where it has one: both are hidden by one click on the legend."""
    label = html.escape(series.label, quote=False)
    marks = {
        "x": [_rounded(mark.x.mean) for mark in series.marks],
        "y": [_rounded(mark.y.mean) for mark in series.marks],
    }
    trace = {"name": label, "legendgroup": label, **marks, "showlegend": True}
    if series.look == "front":
        line = {"color": series.colour, "width": 1, "shape": "hv"}
        return [trace | {"mode": "lines", "line": line, "hoverinfo": "skip", "showlegend": False}]
    trace |= _told(series, panel)
    if series.look == "bars":
        look: dict[str, Any] = {"type": "bar", "orientation": "h", "marker": {"color": series.colour}}
        return [trace | look]
    line = {"color": series.colour, "dash": series.dash, "width": 1 if series.faint else 2}
    if series.look == "curve":
        return [*_band(series, trace), trace | {"mode": "lines", "line": line}]
    hollow = {"symbol": SYMBOLS[series.dash] + "-open" * series.faint, "line": {"width": 2, "color": series.colour}}
    look = {"mode": "lines+markers" if series.look == "line" else "markers", "line": line}
    look |= {"marker": {"color": series.colour, "size": 10, **hollow}}
    errors = {"error_x": [mark.x for mark in series.marks], "error_y": [mark.y for mark in series.marks]}
    return [trace | look | {name: _errors(found, series.colour) for name, found in errors.items() if _any(found)}]


def _told(series: Series, panel: Panel) -> dict[str, Any]:
    """What a mark says when it is pointed at, and the runs, with the page that they are on, that a click leads to."""
    told = [[_words(mark, series, panel), " ".join(mark.runs), mark.page] for mark in series.marks]
    same = len({(runs, page) for _, runs, page in told}) == 1
    # A curve's marks are of the same runs, each: they are said once.
    trace: dict[str, Any] = {"customdata": [[words] if same else [words, runs, page] for words, runs, page in told]}
    trace |= {"meta": told[0][1:]} if same else {}
    where = "%{meta[0]}" if same else "%{customdata[1]}"
    return trace | {"hovertemplate": f"%{{customdata[0]}}<br>runs {where}<extra></extra>"}


def _words(mark: Datum, series: Series, panel: Panel) -> str:
    if panel.rows:
        lines = [panel.rows[round(mark.y.mean)], f"{series.label}: {panel.x.say(mark.x)}"]
    else:
        lines = [
            mark.label or series.label,
            *(f"{a.title}: {a.say(i)}" for a, i in ((panel.x, mark.x), (panel.y, mark.y))),
        ]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def _band(series: Series, trace: dict[str, Any]) -> list[dict[str, Any]]:
    """The intervals as an area behind the line, there and back; none where no mark has one."""
    known = [mark for mark in series.marks if not math.isnan(mark.y.low)]
    there = [(mark.x.mean, mark.y.high) for mark in known]
    back = [(mark.x.mean, mark.y.low) for mark in reversed(known)]
    x, y = ([_rounded(place[side]) for place in there + back] for side in (0, 1))
    look = {"mode": "lines", "line": {"width": 0}, "fill": "toself", "fillcolor": _faded(series.colour)}
    own = {name: trace[name] for name in ("name", "legendgroup")}
    return [{**own, "x": x, "y": y, **look, "hoverinfo": "skip", "showlegend": False}] if known else []


def _faded(colour: str) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.2)"


def _any(intervals: Sequence[Interval]) -> bool:
    return any(not math.isnan(each.low) for each in intervals)


def _errors(intervals: Sequence[Interval], colour: str) -> dict[str, Any]:
    down = [_rounded(each.mean - each.low) for each in intervals]
    up = [_rounded(each.high - each.mean) for each in intervals]
    look = {"color": colour, "thickness": 1.5, "width": 3}
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, **look}


def _rounded(number: float) -> float | None:
    return None if math.isnan(number) else float(f"{number:.{DIGITS}g}")
