"""How a run stands to the conditions of convergence: before it trains, in its record, and in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.config import RunConfig
from bench.keys import ConfigError
from bench.rule.stability import largest_step
from bench.study.launcher import assessment as module
from bench.study.launcher.assessment import assess, warning
from bench.study.verbs.rates import plot
from bench.task.dataset import assemble
from tests import tiny
from tests.commands import TINY, read_json

CURVATURES = [7.0, 8.0, 9.0]
"""Curvatures whose mean is 8, with t(0.975, 2) = 4.302653 and a standard deviation of 1: 5.515862 to 10.484138."""
UPPER = 10.484138
RUNS = "runs"
"""A folder of runs that nothing is written to."""
POLYNOMIAL = {**tiny.VALUES["lr"], "name": "polynomial", "t0": 10.0, "p": 0.75, "warmup_steps": 0}


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss has these curvatures, whatever the network."""
    monkeypatch.setattr(module, "_smoothness", lambda *_: CURVATURES)


def run(gamma0: float, **changes: Any) -> RunConfig:
    return tiny.config(stages=3, staleness=2, lr={**POLYNOMIAL, "gamma0": gamma0, **changes})


@pytest.mark.usefixtures("known")
def test_caps_are_for_the_upper_end_of_the_interval() -> None:
    """sin(pi/10) = 0.309017 of stage 1, which is 2 updates stale, and sin(pi/18) = 0.173648 of stage 0."""
    found = assess(run(0.01), None, RUNS)
    assert [limit.rate for limit in found.limits] == [0.01] * 3
    expected = [2 * 0.173648 / UPPER, 2 * 0.309017 / UPPER, 1 / UPPER]
    assert [limit.cap for limit in found.limits] == pytest.approx(expected, rel=1e-5)
    assert found.metrics() == {"lr/max": 0.01, "lr/cap": pytest.approx(expected[0], rel=1e-5)}
    assert found.verdict.word == "convergent"
    assert warning(found.verdict, run(0.01)) is None


@pytest.mark.usefixtures("known")
def test_a_rate_for_one_stage_may_be_too_large_for_a_staler_one() -> None:
    found = assess(run(0.04), None, RUNS)
    assert found.verdict.word == "none"
    assert warning(found.verdict, run(0.04)) == (
        "lr=polynomial: verdict none (rates within the caps? no, 0.04 is above the cap 0.03313 of stage 0)"
    )
    # A fifth of it for stage 0, and a third for stage 1.
    assert assess(run(0.04, staleness_power=1.0), None, RUNS).verdict.word == "convergent"


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(("gamma0", "name"), [(0.04, "polynomial"), (0.01, "constant")])
def test_a_run_may_require_the_conditions(gamma0: float, name: str) -> None:
    lr = {**tiny.VALUES["lr"], "name": name, "gamma0": gamma0, "require_convergent": True}
    rest = {"t0": 10.0, "p": 0.75} if name == "polynomial" else {}
    refused = tiny.config(stages=3, staleness=2, lr={**lr, **rest, "warmup_steps": 0})
    with pytest.raises(ConfigError, match="require_convergent=true allows the verdict convergent alone"):
        assess(refused, None, RUNS)


def test_smoothness_is_estimated_once_a_workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is, whatever the seed, the cut and the schedule; and again where the file is damaged."""
    asked: list[RunConfig] = []

    def count(config: RunConfig, *_: object) -> list[float]:
        asked.append(config)
        return CURVATURES

    monkeypatch.setattr("bench.engine.measure.curvature.curvatures", count)
    changes: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"stages": 2, "replicas": 2},
        {"lr": POLYNOMIAL},
        {"batch_size": 8},
    ]
    for change in changes:
        assess(tiny.config(**change), None, str(tmp_path))
    assert [config.batch_size for config in asked] == [4, 8]
    for file in (tmp_path / module.FOLDER).iterdir():
        file.write_text("{")
    assess(tiny.config(), None, str(tmp_path))
    assert len(asked) == 3


def test_smoothness_is_that_of_the_images_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images of a folder may be others by now, or decoded in another way."""
    run, asked = tiny.config(), []

    def count(*_: object) -> list[float]:
        asked.append(1)
        return CURVATURES

    monkeypatch.setattr("bench.engine.measure.curvature.curvatures", count)
    dataset = tiny.dataset_of(run)
    train = (255 - dataset.train_images, dataset.train_labels)
    for images in (dataset, assemble(train, dataset.test, dataset.class_names), dataset):
        monkeypatch.setattr(type(run.data), "load", lambda *_, images=images: images)
        assess(run, None, str(tmp_path))
    assert len(asked) == 2


def test_a_flat_loss_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused when it is estimated, and when it is known."""
    monkeypatch.setattr("bench.engine.measure.curvature.curvatures", lambda *_: [0.0, 0.0])
    for _ in range(2):
        with pytest.raises(
            ConfigError, match=r"^model=resnet: the loss is flat at the initial weights; allowed is one"
        ):
            assess(tiny.config(), None, str(tmp_path))


def test_a_run_says_where_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One warning for a sweep whose points stand alike, and none where all holds."""
    words = [*TINY, "engine=reference", "stages=1", f"runs_dir={tmp_path}", "epochs=1", "lr=constant"]
    assert main(["-m", *words, "seed=0,1", "lr.gamma0=1e-4"]) == 0
    said = capsys.readouterr().err
    assert said.count("outside the conditions of convergence: lr=constant: verdict neighbourhood (sum of squares") == 1
    assert main([*words, "lr=polynomial", "lr.gamma0=1e-4", "lr.require_convergent=true"]) == 0
    assert "outside" not in capsys.readouterr().err
    records = [read_json(path) for path in tmp_path.glob("*/record.json")]
    assert sorted(record["rates"]["verdict"] for record in records) == ["convergent", *["neighbourhood"] * 2]
    for record in records:
        assert record["metrics"]["lr/max"] == 1e-4 < record["metrics"]["lr/cap"] == record["rates"]["limits"][0]["cap"]


def test_a_refused_schedule_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TINY, "lr=constant", "engine=reference", f"runs_dir={tmp_path}/runs", "lr.require_convergent=true"]
    assert main(words) == 2
    assert capsys.readouterr().err == (
        "bench: lr=constant: verdict neighbourhood (sum of squares finite? no, constant in the end); "
        "lr.require_convergent=true allows the verdict convergent alone\n"
    )
    assert not list(tmp_path.glob("runs/*"))


def test_rates_are_shown_without_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["rates", "-m", *TINY, f"runs_dir={tmp_path}", "lr=polynomial,cosine", "lr.gamma0=0.1", "staleness=0"])
        == 0
    )
    said = capsys.readouterr().out
    assert "lr=polynomial: none\n" in said
    assert "| sum of rates infinite | yes   | t^-0.75" in said
    assert "| sum of rates infinite | no    | 0 from the end of the run on" in said
    assert "32 updates, 16 an epoch; rates from 0.1 over 0.1 to " in said
    assert not list(tmp_path.glob("*/record.json"))


DRIFTS = ("lr=polynomial", "lr.gamma0=0.002", "lr.p=0.51", "lr.t0=100000", "optimizer.momentum=0.995")


@pytest.mark.parametrize(
    ("words", "known"),
    [
        ((), [True, True]),
        (("weights=latest",), [False, True]),
        (("correction=shrink",), [False, True]),
        (("optimizer=adamw",), [False, False]),
    ],
)
def test_momentum_and_delay_leave_a_margin(
    words: tuple[str, ...], known: list[bool], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At stages of a staleness of 2 and 0, with a momentum of 0.995; the caps know nothing of it."""
    drifts = [word for word in DRIFTS if not (words == ("optimizer=adamw",) and "momentum" in word)]
    assert main(["rates", *TINY, f"runs_dir={tmp_path}", *drifts, *words, "staleness=2"]) == 0
    told = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[-3:]]
    rows = [row for row in told if row and row[0] in "01"]
    assert [row[5:] != ["-", "-"] for row in rows] == known
    for row, delay in zip(rows, (2, 0), strict=True):
        if row[5] != "-":
            curvature = largest_step(0.995, delay) / float(row[5])
            assert float(row[6]) == pytest.approx(0.002 * curvature / largest_step(0.995, delay), rel=0.01)


def test_a_plot_is_columns_of_eighths() -> None:
    assert plot([0.0, 1.0, 2.0, 4.0], height=2) == ["   █", " ▄██"]
    assert plot([1.0] * 7, width=3, height=1) == ["███"]
