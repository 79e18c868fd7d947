"""A study as a picture: its trials one after the other, what mattered, and what is to be had of two objectives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.study.pictures import PALETTE, pareto_front

if TYPE_CHECKING:
    from bench.study.findings import Finding

MARKS = {"COMPLETE": ("o", PALETTE[0], "finished"), "PRUNED": ("x", PALETTE[1], "pruned, at its last epoch")}


def draw(finding: Finding, path: Path) -> Path:
    """Draw a study into a PNG file; return its path."""
    from matplotlib.figure import Figure

    panels = [_history, _importances] + ([_front] if len(finding.study.tuning.objectives) > 1 else [])
    figure = Figure(figsize=(5.5 * len(panels), 4), layout="constrained", dpi=120)
    for panel, axis in zip(panels, figure.subplots(1, len(panels)), strict=True):
        panel(axis, finding)
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
    budget = finding.budget
    figure.suptitle(f"{finding.study.tuning.study}: {budget['trials']} trials of {budget['epochs']} epochs")
    # Without the version of matplotlib, the same study gives the same file.
    figure.savefig(path, metadata={"Software": None})
    return path


def _history(axis: Any, finding: Finding) -> None:
    """Test accuracy of each trial, and the best so far."""
    points: dict[str, list[tuple[int, float]]] = {state: [] for state in MARKS}
    for trial in finding.trials:
        if trial.state.name == "COMPLETE":
            points["COMPLETE"].append((trial.number, trial.values[0]))
        elif trial.state.name == "PRUNED":
            points["PRUNED"].append((trial.number, trial.intermediate_values[max(trial.intermediate_values)]))
    for state, (marker, colour, label) in MARKS.items():
        if points[state]:
            axis.plot(*zip(*points[state], strict=True), marker, color=colour, label=label)
    best, line = 0.0, []
    for number, accuracy in points["COMPLETE"]:
        best = max(best, accuracy)
        line.append((number, best))
    if line:
        axis.step(*zip(*line, strict=True), where="post", color=PALETTE[2], label="best so far")
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3, frameon=False)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set(xlabel="trial", ylabel="test accuracy")


def _importances(axis: Any, finding: Finding) -> None:
    """Share of the accuracy's variance that each parameter explains."""
    pairs = sorted(finding.importances.items(), key=lambda pair: pair[1])
    if pairs:
        axis.barh(*zip(*pairs, strict=True), color=PALETTE[0])
    else:
        axis.text(0.5, 0.5, "too few trials to tell", ha="center", transform=axis.transAxes)
    axis.set(xlabel="importance for the accuracy")


def _front(axis: Any, finding: Finding) -> None:
    """Accuracy against the time to the target."""
    done = [(trial.values[1], trial.values[0]) for trial in finding.trials if trial.state.name == "COMPLETE"]
    if done:
        axis.plot(*zip(*done, strict=True), "o", color=PALETTE[0])
        front = pareto_front([(-seconds, accuracy) for seconds, accuracy in done])
        axis.step([-cost for cost, _ in front], [accuracy for _, accuracy in front], color=PALETTE[2], label="front")
        axis.legend()
    axis.set(xlabel=f"seconds to {finding.study.tuning.target:.0%}", ylabel="test accuracy")
