"""The picture of a study."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection, create_study
from optuna.trial import TrialState, create_trial
from PIL import Image

from bench.study.tune.database import quiet
from bench.study.tune.finding import Finding
from bench.study.tune.picture import draw
from bench.task.judgement import OLDEST

PANEL = (660, 480)
"""Pixels of each of the plots, side by side."""
ORANGE = (255, 127, 14)
"""The colour of pruned trials; the legend, below the plot, always has it."""


def finding(accuracies: list[float | None], objectives: int = 1, excess: float = 0.0) -> Finding:
    """A study of one parameter and one constraint; its trials without an accuracy are pruned."""
    with quiet():
        study = create_study(directions=[StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE][:objectives])
    for number, accuracy in enumerate(accuracies):
        rate: dict[str, Any] = {"params": {"rate": 0.1 * number}, "distributions": {"rate": FloatDistribution(0, 1)}}
        if accuracy is None:
            pruned = create_trial(state=TrialState.PRUNED, intermediate_values={0: 0.1, 1: 0.2}, **rate)
            study.add_trial(pruned)
        else:
            values = [accuracy, 9.0 - number][:objectives]
            study.add_trial(create_trial(values=values, constraints={"target": excess}, **rate))
    tuning = SimpleNamespace(study="small", objectives=["quality", "time"][:objectives], target=0.9)
    complete = sum(accuracy is not None for accuracy in accuracies)
    budget = {"trials": len(accuracies), "complete": complete, "epochs": 2}
    best = study.trials[0] if excess <= 0 else None
    parts = {
        "study": SimpleNamespace(
            tuning=tuning, judged_by="validation", quality=OLDEST.quality, objectives=["accuracy", "time"][:objectives]
        ),
        "trials": study.trials,
        "budget": budget,
        "best": best,
    }
    return cast(Finding, SimpleNamespace(**parts))


@pytest.mark.parametrize(
    ("accuracies", "objectives", "panels"),
    [([0.5, 0.8, None, 0.7], 1, 2), ([0.5, 0.8, None, 0.7], 2, 3), ([0.5, 0.5], 2, 2), ([0.5], 1, 1)],
)
def test_a_study_has_its_plots_side_by_side(
    accuracies: list[float | None], objectives: int, panels: int, tmp_path: Path
) -> None:
    """Importances are told where two accuracies differ; the same study gives the same file."""
    for name in ("one.png", "other.png"):
        draw(finding(accuracies, objectives), tmp_path / name)
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.size == (panels * PANEL[0], PANEL[1])
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()


def test_pruned_trials_are_in_the_picture(tmp_path: Path) -> None:
    histories = []
    for last in (None, 0.5):
        draw(finding([0.5, 0.8, 0.7, last]), tmp_path / "study.png")
        with Image.open(tmp_path / "study.png") as picture:
            colours = picture.convert("RGB").crop((0, 0, PANEL[0], 350)).getcolors(1 << 24) or []
        histories.append({colour for _, colour in colours})
    assert ORANGE in histories[0] - histories[1]


def test_trials_beyond_their_constraints_have_no_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Optuna would say so in the log."""
    draw(finding([0.5, 0.8], 2, excess=1.0), tmp_path / "study.png")
    with Image.open(tmp_path / "study.png") as picture:
        assert picture.width == 2 * PANEL[0]
    assert capsys.readouterr().err == ""


def test_a_study_without_a_finished_trial_has_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no trial has finished"):
        draw(finding([None, None]), tmp_path / "none.png")
