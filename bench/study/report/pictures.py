"""The pictures of a report: what staleness buys and costs, where the time goes, and how accuracy grows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.plan.interval import Interval, mean
from bench.plan.sections import SECTIONS
from bench.record.metrics import ACCURACY, SPEED
from bench.rule.method.contract import facts_of
from bench.study.report.figure import drawn, new_figure
from bench.study.report.result import Run, order, setting, varying

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#6B4E71", "#8C8C8C")
"""Okabe and Ito's colours, which the colour-blind tell apart, and two more."""
WORKLOADS_DRAWN = 6
GROUPS_DRAWN = 16
BARS_DRAWN = 32
UNTIMED = "agents shared cores, or the oracle"
PARTS = {
    "compute": ("computing", "#009E73"),
    "communication": ("communicating", "#6B4E71"),
    "data": ("data, other", "#D9D9D9"),
    "other": ("data, other", "#D9D9D9"),
}
"""What the shares of the wall time are called, and their colours, by how their seconds count; each wait is its own."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone."""

    runs: list[Run]
    rest: str
    """Values of the keys, the axes apart, that tell it from the other groups of its panel."""

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def label(self) -> str:
        diverged = sum(run.diverged for run in self.runs)
        return self.first.label + self.rest + (f" ({diverged} of {len(self.runs)} diverged)" if diverged else "")

    def mean(self, metric: str) -> Interval | None:
        numbers = [number for run in self.runs if (number := run.number(metric)) is not None]
        return mean(numbers) if numbers else None


def draw_all(runs: Sequence[Run], folder: Path) -> list[Path]:
    """Draw every picture into ``folder``; a column of panels, one for each workload, or network where time is shown.

    Returns:
        Those that could be drawn.
    """
    pictures: dict[str, tuple[Callable[[Any, list[Group]], None], int, Callable[[Run], str]]] = {
        "pareto.png": (_pareto, 1, lambda run: run.workload),
        "locking.png": (_locking, 1, lambda run: run.network),
        "curves.png": (_curves, 2, lambda run: run.workload),
        "staleness.png": (_staleness, 1, lambda run: run.workload),
    }
    found = []
    for name, (draw, panels, work) in pictures.items():
        path = folder / name
        if drawn(path, partial(_picture, path, draw, panels, runs, work)):
            found.append(path)
    return found


def _panels(runs: Sequence[Run], work: Callable[[Run], str]) -> list[tuple[str, list[Group]]]:
    """The panels of a picture: their titles, and the groups that are drawn in each."""
    found: dict[str, list[Run]] = {}
    for run in sorted(runs, key=order):
        found.setdefault(work(run), []).append(run)
    shown = list(found.values())[:WORKLOADS_DRAWN]
    titles = _titles([members[0] for members in shown], len(found))
    return list(zip(titles, map(groups_of, shown), strict=True))


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other one beats in one coordinate without losing in the other, by the first coordinate."""
    front: list[tuple[float, float]] = []
    for point in sorted(set(points), reverse=True):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front[::-1]


# -------------------------------------------------------------------------------------------------------------- panels
def _pareto(axes: Sequence[Any], groups: list[Group]) -> None:
    (axis,) = axes
    comparable = []
    for index, group in enumerate(groups):
        speed, accuracy = group.mean(SPEED), group.mean(ACCURACY)
        if speed is None or accuracy is None:
            continue
        look = {"color": PALETTE[index % len(PALETTE)], "fmt": "o", "capsize": 2, "markersize": 7}
        hollow = {} if group.first.timed else {"markerfacecolor": "white"}
        axis.errorbar(speed.mean, accuracy.mean, xerr=_error(speed), yerr=_error(accuracy), **look, **hollow)
        if len(groups) <= GROUPS_DRAWN:
            place = (speed.mean, accuracy.mean)
            axis.annotate(group.label, place, (6, 5), textcoords="offset points", fontsize=8)
        if group.first.timed:
            comparable.append((speed.mean, accuracy.mean))
    front = pareto_front(comparable)
    axis.step(*(zip(*front, strict=True) if front else ((), ())), where="post", color="#8C8C8C", linewidth=1, zorder=0)
    axis.set_xlabel(f"images/s (hollow: {UNTIMED})")
    axis.set_ylabel("test accuracy")
    axis.margins(0.15)
    axis.set_xlim(left=max(0.0, axis.get_xlim()[0]))


def _locking(axes: Sequence[Any], groups: list[Group]) -> None:
    (axis,) = axes
    bars = [(group, agent) for group in groups for agent in range(len(group.first.agents))][:BARS_DRAWN]
    bottoms = [0.0] * len(bars)
    parts: dict[tuple[str, str], list[str]] = {}
    for section in SECTIONS:
        own = (section.title, section.share_colour or section.colour)
        parts.setdefault(PARTS.get(section.counts, own), []).append(section.name)
    for (part, colour), kinds in parts.items():
        heights = [_share(group, agent, kinds) for group, agent in bars]
        axis.bar(range(len(bars)), heights, bottom=bottoms, color=colour, label=part, width=0.8, edgecolor="white")
        bottoms = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
    labels = []
    for group, agent in bars:
        stage, replica, _ = group.first.agents[agent]
        labels.append(f"{group.label}\nstage {stage}" + (f", replica {replica}" if replica else ""))
    axis.set_xticks(range(len(bars)), labels, rotation=90, fontsize=7)
    axis.set_ylabel("share of the wall time")
    axis.set_ylim(0, 1.02)
    axis.legend(ncols=3, fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0))


def _curves(axes: Sequence[Any], groups: list[Group]) -> None:
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
    axes[0].set_ylabel("test accuracy (band: least to most over seeds)")
    hidden = len(groups) - GROUPS_DRAWN
    axes[1].legend(fontsize=8, frameon=False, title=f"{hidden} more not drawn" if hidden > 0 else None)


def _staleness(axes: Sequence[Any], groups: list[Group]) -> None:
    (axis,) = axes
    lines: dict[str, list[tuple[int, Interval]]] = {}
    for group in groups:
        keys = group.first.keys
        accuracy = group.mean(ACCURACY)
        if accuracy and facts_of(keys["method"]).stale:
            name = f"S{keys['replicas']}{group.rest}"
            lines.setdefault(name, []).append((keys["staleness"] * (keys["stages"] - 1), accuracy))
    for index, (name, points) in enumerate(list(lines.items())[:GROUPS_DRAWN]):
        ordered = sorted(points, key=lambda point: point[0])
        errors = [[_error(accuracy)[end][0] for _, accuracy in ordered] for end in (0, 1)]
        places = [delay for delay, _ in ordered]
        heights = [accuracy.mean for _, accuracy in ordered]
        axis.errorbar(
            places, heights, yerr=errors, fmt="o-", capsize=3, color=PALETTE[index % len(PALETTE)], label=name
        )
    axis.set_xlabel("staleness of the first stage: c (K - 1) updates")
    axis.set_ylabel("test accuracy (95% interval over seeds)")
    axis.xaxis.get_major_locator().set_params(integer=True)
    if lines:
        axis.legend(fontsize=8, frameon=False)


# --------------------------------------------------------------------------------------------------------- their parts
def _picture(
    path: Path,
    draw: Callable[[Any, list[Group]], None],
    panels: int,
    runs: Sequence[Run],
    work: Callable[[Run], str],
) -> None:
    workloads = _panels(runs, work)
    figure = new_figure(4.6 * panels + 4, 4.6 * len(workloads), dpi=100, layout="constrained")
    grid = figure.subplots(len(workloads), panels, squeeze=False)
    for axes, (title, groups) in zip(grid, workloads, strict=True):
        draw(axes, groups)
        axes[0].set_title(title, fontsize=9, loc="left", pad=38 if draw is _locking else 6)
        for axis in axes:
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(color="#E6E6E6", linewidth=0.8)
            axis.set_axisbelow(True)
    figure.savefig(path)


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """Gather the runs of one workload by group."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    firsts = [members[0] for members in groups.values()]
    # A label tells the microbatches; cuts are mostly the work of the numbers of stages.
    rests = [_rests(firsts, left_out) for left_out in (("microbatches", "partition"), ("microbatches",))]
    labels = {first.label + rest for first, rest in zip(firsts, rests[0], strict=True)}
    return list(map(Group, groups.values(), rests[len(labels) < len(firsts)]))


def _rests(runs: Sequence[Run], left_out: Sequence[str]) -> list[str]:
    """Each run's values, as text, of the keys that differ between the runs."""
    keys = varying(runs, left_out)
    return ["".join(f" {value}" for key in keys if (value := setting(run, key))) for run in runs]


def _titles(firsts: Sequence[Run], workloads: int) -> list[str]:
    """What tells the workloads apart, and at the end how many are not drawn."""
    keys = varying(firsts)
    common = f"{firsts[0].keys.get('model.name')} on {firsts[0].keys.get('data.name')}"
    titles = [" ".join(f"{key}={setting(run, key)}" for key in keys) or common for run in firsts]
    if workloads > len(firsts):
        titles[-1] += f" ({workloads - len(firsts)} more workloads are not drawn)"
    return titles


def _error(interval: Interval) -> list[list[float]]:
    """The lengths of an error bar, down and up from the mean; nothing where there is no interval."""
    if interval.n < 2:
        return [[0.0], [0.0]]
    return [[interval.mean - interval.low], [interval.high - interval.mean]]


def _share(group: Group, agent: int, kinds: Sequence[str]) -> float:
    shares = [
        sum(run.agents[agent][2].get(kind, 0.0) for kind in kinds) for run in group.runs if agent < len(run.agents)
    ]
    return sum(shares) / len(shares)
