"""A study as a picture: its trials one after the other, what mattered, and what is to be had of two objectives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.study.report.figure import new_figure
from bench.study.report.pictures import PALETTE, pareto_front
from bench.study.tune.trials import is_feasible

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from bench.study.tune.finding import Finding

MARKS = {
    "finished": {"marker": "o", "color": PALETTE[0]},
    "beyond a constraint": {"marker": "o", "color": PALETTE[0], "fillstyle": "none"},
    "pruned, at its last epoch": {"marker": "x", "color": PALETTE[1]},
}


def draw(finding: Finding, path: Path) -> None:
    """Draw a study into a PNG file."""
    panels = [_history, _importances] + ([_front] if len(finding.study.tuning.objectives) > 1 else [])
    figure = new_figure(5.5 * len(panels), 4, dpi=120, layout="constrained")
    for panel, axis in zip(panels, figure.subplots(1, len(panels)), strict=True):
        panel(axis, finding)
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
    budget = finding.budget
    figure.suptitle(f"{finding.study.tuning.study}: {budget['trials']} trials of {budget['epochs']} epochs")
    # Without the version of matplotlib, the same study gives the same file.
    figure.savefig(path, metadata={"Software": None})


def _kind(trial: FrozenTrial) -> str | None:
    """Which of the marks a trial has; None for one that has failed."""
    if trial.state.name == "PRUNED":
        return "pruned, at its last epoch"
    if trial.state.name == "COMPLETE":
        return "finished" if is_feasible(trial) else "beyond a constraint"
    return None


def _history(axis: Any, finding: Finding) -> None:
    """Draw the test accuracy of each trial, and the best so far."""
    points: dict[str, list[tuple[float, float]]] = {kind: [] for kind in MARKS}
    for trial in finding.trials:
        if kind := _kind(trial):
            pruned = trial.state.name == "PRUNED"
            accuracy = trial.intermediate_values[max(trial.intermediate_values)] if pruned else trial.values[0]
            points[kind].append((trial.number, accuracy))
    _mark(axis, points)
    best, line = 0.0, []
    for number, accuracy in points["finished"]:
        best = max(best, accuracy)
        line.append((number, best))
    if line:
        axis.step(*zip(*line, strict=True), where="post", color=PALETTE[2], label="best so far")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=4, frameon=False)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set(xlabel="trial", ylabel="test accuracy")


def _mark(axis: Any, points: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    for kind, pairs in points.items():
        if pairs:
            axis.plot(*zip(*pairs, strict=True), linestyle="none", label=kind, **MARKS[kind])


def _importances(axis: Any, finding: Finding) -> None:
    """Draw the share of the accuracy's variance that each parameter explains."""
    pairs = sorted(finding.importances.items(), key=lambda pair: pair[1])
    if pairs:
        axis.barh(*zip(*pairs, strict=True), color=PALETTE[0])
    else:
        axis.text(0.5, 0.5, "too few trials to tell", ha="center", transform=axis.transAxes)
    axis.set(xlabel="importance for the accuracy")


def _front(axis: Any, finding: Finding) -> None:
    """Draw accuracy against seconds to the target; a trial that missed it breaks a constraint after its whole time."""
    points: dict[str, list[tuple[float, float]]] = {kind: [] for kind in MARKS}
    for trial in finding.trials:
        if trial.state.name == "COMPLETE":
            points[str(_kind(trial))].append((trial.values[1], trial.values[0]))
    _mark(axis, points)
    front = pareto_front([(-seconds, accuracy) for seconds, accuracy in points["finished"]])
    if front:
        axis.plot([-cost for cost, _ in front], [accuracy for _, accuracy in front], color=PALETTE[2], label="front")
    axis.set(xlabel=f"seconds to {finding.study.tuning.target:.0%}", ylabel="test accuracy")
