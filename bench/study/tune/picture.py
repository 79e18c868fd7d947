"""A study as a picture: its trials one after the other, what mattered, and what is to be had of two objectives."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.study.report.figure import AGG
from bench.study.tune.database import quiet
from bench.study.tune.finding import Finding
from bench.study.tune.trials import directions_of
from bench.system.heartbeat import TALKING
from bench.system.variables import variables

if TYPE_CHECKING:
    from optuna import Study

PANEL: Any = {"figure.figsize": (5.5, 4), "figure.dpi": 120, "figure.constrained_layout.use": True}
"""What Optuna's plots, each a figure of its own, are to be."""


def draw(finding: Finding, path: Path) -> None:
    """Draw a study into a PNG file: Optuna's plots, side by side.

    Raises:
        ValueError: none of its trials has finished.
    """
    from optuna.exceptions import ExperimentalWarning

    if not finding.budget["complete"]:
        raise ValueError("no trial has finished")
    with TALKING, variables(AGG), quiet(), warnings.catch_warnings():
        # All of Optuna's plots by matplotlib are "experimental", the oldest since its version 2.2.
        warnings.simplefilter("ignore", ExperimentalWarning)
        from matplotlib import pyplot

        with pyplot.rc_context(PANEL):
            panels = [_pixels(axis) for axis in _plots(finding)]
        # Without the version of matplotlib, the same study gives the same file.
        pyplot.imsave(path, np.hstack(panels), metadata={"Software": None})


def _plots(finding: Finding) -> Iterator[Any]:
    """Yield the qualities, what they hang on where two of them differ, and both objectives where a trial keeps to its
    constraints.

    Source of the importances: Hutter, Hoos and Leyton-Brown 2014, "An efficient approach for assessing hyperparameter
    importance".
    """
    from optuna.importance import FanovaImportanceEvaluator
    from optuna.visualization import matplotlib as plots

    quality = finding.study.quality
    told = f"{finding.study.judged_by} {quality.name}"
    tuning, budget, judged = finding.study.tuning, finding.budget, _in_memory(finding, 1)
    history: Any = plots.plot_optimization_history(judged, target_name=told)
    pruned = [trial for trial in finding.trials if trial.state.name == "PRUNED"]
    last = [trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned]
    history.plot([trial.number for trial in pruned], last, "x", color="tab:orange", label="pruned, at its last epoch")
    history.collections[-1].set(edgecolor="dimgrey", label="beyond a constraint")
    history.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    history.xaxis.get_major_locator().set_params(integer=True)
    history.set_title(f"{tuning.study}: {budget['trials']} trials of {budget['epochs']} epochs")
    yield history
    if len({trial.values[0] for trial in judged.trials if trial.values}) > 1:
        yield plots.plot_param_importances(judged, FanovaImportanceEvaluator(seed=0), target_name=told)
    if len(tuning.objectives) > 1 and finding.best:
        assert tuning.target is not None
        names = [told, f"seconds to {quality.shown(tuning.target)}"]
        yield plots.plot_pareto_front(_in_memory(finding, 2), target_names=names)


def _in_memory(finding: Finding, objectives: int) -> Study:
    """The study with its first objectives alone: of a single one, Optuna draws the best so far."""
    from optuna.study import create_study

    study = create_study(directions=directions_of(finding.study)[:objectives])
    for trial in copy.deepcopy(finding.trials):
        trial.values = trial.values and trial.values[:objectives]
        study.add_trial(trial)
    return study


def _pixels(axis: Any) -> np.ndarray:
    """The figure of a plot, on white as the suite's other pictures."""
    from matplotlib import pyplot

    axis.set_facecolor("white")
    axis.grid(color="gainsboro")
    canvas = axis.figure.canvas
    canvas.draw()
    pyplot.close(axis.figure)
    return np.array(canvas.buffer_rgba())
