"""What every agent did when: as a Chrome trace, which Perfetto opens, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.plan.sections import BY_NAME, KINDS, OTHER, Section
from bench.study.report.figure import new_figure

TICKS_DRAWN = 16
INCHES_PER_TICK = 1.0
INCHES_PER_ROW = 0.62
LEFT, RIGHT, TOP, BOTTOM = 1.55, 0.15, 0.5, 0.55
"""The picture's margins, in inches."""
LABEL_SIZE = 8.0
CHARACTER_POINTS = 0.62 * LABEL_SIZE
BAR_HEIGHT = 0.76
DRAWN = sorted(KINDS, key=lambda kind: BY_NAME[kind].counts == "wait")
"""The kinds of time in the order in which they are drawn: waits lie over what they follow."""


def draw(trace: Mapping[str, Any], path: Path) -> None:
    """Draw the last ticks of a trace as a PNG: a row per agent, passes with the number of their batch."""
    spans = _last_ticks([event for event in trace["traceEvents"] if event["ph"] == "X"])
    start = min((event["ts"] for event in spans), default=0.0)
    end = max((event["ts"] + event["dur"] for event in spans), default=1000.0)
    rows = sorted({(event["pid"], event["tid"]) for event in spans})
    inches = max(6.0, INCHES_PER_TICK * len({event["args"]["tick"] for event in spans}))
    width, height = LEFT + inches + RIGHT, TOP + INCHES_PER_ROW * max(len(rows), 1) + BOTTOM
    figure = new_figure(width, height, dpi=130)
    # Margins are given and not fitted: fitting renders the figure twice more.
    axes = figure.add_axes((LEFT / width, BOTTOM / height, inches / width, 1 - (TOP + BOTTOM) / height))
    _style(axes, rows, (end - start) / 1000)
    for row, agent in enumerate(rows):
        _agent(axes, row, [event for event in spans if (event["pid"], event["tid"]) == agent], start, inches)
    _legend(axes, {event["name"] for event in spans})
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _last_ticks(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last ticks, as many as a page can hold legibly; a pipeline that has filled up repeats itself."""
    last = max((event["args"]["tick"] for event in spans), default=0)
    return [event for event in spans if event["args"]["tick"] > last - TICKS_DRAWN]


def _style(axes: Any, rows: list[tuple[int, int]], end: float) -> None:
    axes.set_xlim(0, end)
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [f"replica {replica} / stage {stage}" for replica, stage in rows])
    axes.set_xlabel("time (ms)")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    for row in range(1, len(rows)):
        if rows[row][0] != rows[row - 1][0]:
            axes.axhline(row - 0.5, color="#B0B0B0", linewidth=0.8)


def _agent(axes: Any, row: int, events: list[dict[str, Any]], start: float, inches: float) -> None:
    """Draw an agent's row: its bars, and the batches' numbers where they fit."""
    for kind in dict.fromkeys([*DRAWN, *(event["name"] for event in events)]):
        look, colour = _look(kind), _section(kind).number_colour
        ranges = [((event["ts"] - start) / 1000, event["dur"] / 1000) for event in events if event["name"] == kind]
        if ranges:
            axes.broken_barh(ranges, (row - BAR_HEIGHT / 2, BAR_HEIGHT), **look)
        for event in (event for event in events if event["name"] == kind and colour):
            middle = (event["ts"] - start + event["dur"] / 2) / 1000
            points = 72 * inches * event["dur"] / 1000 / axes.get_xlim()[1]
            _label(axes, middle, row, points, str(event["args"].get("batch", "")), colour)


def _look(kind: str) -> dict[str, Any]:
    """How bars of a kind look, on the axes and in the legend."""
    section = _section(kind)
    if section.hatch:
        edge = section.hatch_colour
        return {"facecolor": section.colour, "edgecolor": edge, "hatch": section.hatch, "linewidth": 0.0}
    # A white edge parts neighbours; round the narrow kinds it would leave nothing to see.
    line = 0.6 if section.number_colour else 0.0
    return {"facecolor": section.colour, "edgecolor": "white", "linewidth": line}


def _section(kind: str) -> Section:
    """The kind of time; one that another version has metered is drawn as what has no other kind."""
    return BY_NAME.get(kind, OTHER._replace(name=kind))


def _legend(axes: Any, kinds: set[str]) -> None:
    from matplotlib.patches import Patch

    shown = [kind for kind in KINDS if kind in kinds] + sorted(kinds - set(KINDS))
    handles = [Patch(**_look(kind), label=_section(kind).title) for kind in shown]
    columns = max(1, len(shown) if axes.figure.get_figwidth() > 10 else (len(shown) + 1) // 2)
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2, "borderpad": 0}
    axes.legend(handles=handles, ncols=columns, frameon=False, fontsize=8, **place)


def _label(axes: Any, middle: float, row: int, points: float, text: str, colour: str) -> None:
    """Write into a box ``points`` wide: across, or else upwards, or else not at all."""
    across = points >= CHARACTER_POINTS * len(text) + 3
    if across or points >= LABEL_SIZE + 2:
        turn = 0 if across else 90
        axes.text(middle, row, text, color=colour, fontsize=LABEL_SIZE, ha="center", va="center", rotation=turn)
