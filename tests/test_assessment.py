"""What is known of a run before it trains: its shape, whether it is covered, its margin; in records and words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bench.__main__ import main
from bench.config import RunConfig
from bench.keys import ConfigError
from bench.rule.convergence import limits_of, outside_of
from bench.rule.correction.contract import Correction
from bench.rule.optimizer.contract import Optimizer
from bench.rule.stability import largest_step
from bench.study.launcher import assessment as module
from bench.study.launcher.assessment import assess
from bench.study.verbs.rates import plot
from bench.task.labelled import LabelledImages, assemble
from tests import tiny
from tests.commands import TINY, read_json

CURVATURES = [7.0, 8.0, 9.0]
"""Curvatures whose mean is 8."""
RUNS = "runs"
"""A folder of runs that nothing is written to."""
POLYNOMIAL = {**tiny.VALUES["lr"], "name": "polynomial", "t0": 10.0, "p": 0.75, "warmup_steps": 0}


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss has these curvatures, whatever the network."""
    monkeypatch.setattr(module, "_smoothness", lambda *_: CURVATURES)


def run(gamma0: float, **changes: Any) -> RunConfig:
    return tiny.config(stages=3, staleness=2, lr={**POLYNOMIAL, "gamma0": gamma0, **changes})


PLAIN: dict[str, Any] = {"optimizer": {**tiny.VALUES["optimizer"], "momentum": 0.0}}


@pytest.mark.usefixtures("known")
def test_limits_are_for_the_mean_curvature() -> None:
    """The table of heavy ball at a momentum of 0.9 and delays of 4, 2 and 0, over 8."""
    found = assess(run(0.01), None, RUNS)
    limits = found.verdict.limits
    assert [(limit.rate, limit.delay) for limit in limits] == [(0.01, 4), (0.01, 2), (0.01, 0)]
    assert [limit.stable for limit in limits] == pytest.approx([0.0265 / 8, 0.0512 / 8, 3.8 / 8], rel=2e-3)
    assert found.metrics() == {"lr/margin": pytest.approx(0.01 * 8 / 0.0265, rel=2e-3)}
    assert found.verdict.margin_in_words() == "3.02, the rate 0.01 of stage 0 over its limit 0.003312"
    # A fifth of it for stage 0, and a third for stage 1.
    shared = assess(run(0.01, staleness_power=1.0), None, RUNS).verdict
    assert shared.margin == pytest.approx(0.002 * 8 / 0.0265, rel=2e-3)


@pytest.mark.usefixtures("known")
def test_what_a_record_holds_of_it() -> None:
    found = assess(run(0.01), None, RUNS).record()
    assert (found["shape"], found["covered"]) == ("convergent", False)
    assert found["outside"] == ["optimizer=sgd has momentum=0.9"]
    assert found["sums"] == "t^-0.75: an infinite sum, with a finite one of the squares"
    rates = [0.01 * (1 + step / 10) ** -0.75 for step in range(48)]
    assert found["bound"]["distance"] == pytest.approx(2 / sum(rates))
    assert found["bound"]["noise"] == pytest.approx(8 * sum(rate**2 for rate in rates) / sum(rates))
    assert found["smoothness"]["mean"] == 8


@dataclass(frozen=True)
class Sideways(Correction):
    """A user's own correction that says in its own words what it changes."""

    name: ClassVar[str] = "sideways"
    changed: ClassVar[str] = "the direction"


@dataclass(frozen=True)
class Unsaid(Optimizer):
    """A user's own optimizer that says nothing."""

    name: ClassVar[str] = "unsaid"


STALE: dict[str, Any] = {"stages": 2, "staleness": 2, **PLAIN}


@pytest.mark.parametrize(
    ("changes", "outside", "known"),
    [
        ({}, [], True),
        (tiny.VALUES, ["optimizer=sgd has momentum=0.9"], True),
        (
            {"optimizer": {"name": "adamw", "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}},
            ["optimizer=adamw is not plain SGD"],
            False,
        ),
        ({"weights": "latest"}, ["weights=latest goes backward at other weights than forward"], False),
        ({"weights": "latest", "staleness": 0}, [], True),
        ({"correction": {"name": "shrink", "beta": 0.5}, "staleness": 0}, [], True),
        (
            {"correction": {"name": "shrink", "beta": 0.5}},
            ["correction=shrink changes the gradients of all stages but the last, each by another factor"],
            False,
        ),
        (
            {"correction": {"name": "lr_discount", "until": 0.5}},
            ["correction=lr_discount changes the rates of stale stages, which climb while the discount falls"],
            False,
        ),
        (
            {"replicas": 2, "averaging": {"name": "gossip", "graph": "ring"}},
            ["averaging=gossip leaves every replica weights of its own"],
            False,
        ),
        ({"replicas": 2}, [], True),
        (
            {"clip": {"name": "network", "norm": 1.0}},
            ["clip=network scales every gradient by a factor that depends on it"],
            True,
        ),
        (
            {"lr": {**tiny.VALUES["lr"], "name": "onecycle", "rise": 0.25, "start": 0.04}},
            ["lr=onecycle climbs over 0.25 of the run"],
            True,
        ),
    ],
    ids=str,
)
def test_what_is_outside_the_theorem_says_why(changes: dict[str, Any], outside: list[str], known: bool) -> None:
    config = tiny.config(**{**STALE, **{key: changes[key] for key in changes}})
    assert outside_of(config) == tuple(outside)
    assert all((limit.stable is not None) is known for limit in limits_of(config, 0.1, 8.0)[:1])


def test_a_users_own_choice_says_its_own() -> None:
    config = replace(tiny.config(**STALE), correction=Sideways(), optimizer=Unsaid())
    assert outside_of(config) == ("optimizer=unsaid is not plain SGD", "correction=sideways changes the direction")
    assert [limit.stable for limit in limits_of(config, 0.1, 8.0)] == [None, None]


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("gamma0", "changes", "reason"),
    [
        (
            0.01,
            {},
            "no theorem covers it: optimizer=sgd has momentum=0.9; the margin is 3.02, the rate 0.01 of stage 0",
        ),
        (0.1, PLAIN, "the margin is 2.3, the rate 0.1 of stage 0 over its limit 0.04341"),
        (
            0.01,
            {**PLAIN, "lr": {**tiny.VALUES["lr"]}},
            "lr=constant has the shape neighbourhood (constant in the end: ",
        ),
    ],
)
def test_a_run_may_require_what_is_proven(gamma0: float, changes: dict[str, Any], reason: str) -> None:
    config = replace(run(gamma0), **{key: getattr(tiny.config(**changes), key) for key in changes})
    wanted = replace(config, lr=replace(config.lr, require_convergent=True))
    with pytest.raises(ConfigError) as refused:
        assess(wanted, None, RUNS)
    assert str(refused.value).startswith(f"lr.require_convergent=true: {reason}")
    assert str(refused.value).endswith("that a theorem covers, with a margin of at most 1 (python -m bench rates)")
    assess(config, None, RUNS)


@pytest.mark.usefixtures("known")
def test_what_is_proven_is_not_refused() -> None:
    """sin(pi/18) = 0.173648 of stage 0, which is 4 updates stale: up to 2 * 0.173648 / 8 = 0.043412."""
    for gamma0, proven in ((0.0434, True), (0.0435, False)):
        config = replace(run(gamma0), optimizer=tiny.config(**PLAIN).optimizer)
        found = assess(config, None, RUNS).verdict
        assert found.is_proven is proven
    assert assess(replace(config, lr=replace(run(0.0434).lr, require_convergent=True)), None, RUNS)


def test_a_run_that_drifts_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With this momentum it ends at chance, though its sums are as they should be."""
    words = ["stages=4", "staleness=2", "model=mlp", "engine=reference", *DRIFTS, "lr.require_convergent=true"]
    assert main([*words, "epochs=60"]) == 2
    assert capsys.readouterr().err.startswith(
        "bench: lr.require_convergent=true: no theorem covers it: optimizer=sgd has momentum=0.995; allowed is a run "
    )


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
    assert isinstance(dataset, LabelledImages)
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
    """Its record does. Nothing is printed of it, as a margin at the initial weights says little of runs that learn."""
    words = [*TINY, "engine=reference", "stages=1", f"runs_dir={tmp_path}", "epochs=1", "optimizer.momentum=0"]
    assert main(["-m", *words, "lr=constant", "seed=0,1", "lr.gamma0=1.0"]) == 0
    assert main([*words, "lr=polynomial", "lr.gamma0=1e-4", "lr.require_convergent=true"]) == 0
    assert "stable" not in capsys.readouterr().err
    records = [read_json(path) for path in tmp_path.glob("*/record.json")]
    assert sorted(record["rates"]["shape"] for record in records) == ["convergent", *["neighbourhood"] * 2]
    for record in records:
        (limit,) = record["rates"]["limits"]
        assert record["metrics"]["lr/margin"] == record["rates"]["margin"] == limit["rate"] / limit["stable"]


def test_a_refused_schedule_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TINY, "lr=constant", "engine=reference", f"runs_dir={tmp_path}/runs", "lr.require_convergent=true"]
    assert main([*words, "optimizer.momentum=0"]) == 2
    assert capsys.readouterr().err == (
        "bench: lr.require_convergent=true: lr=constant has the shape neighbourhood (constant in the end: the sum of "
        "their squares is infinite); allowed is a run of the shape convergent that a theorem covers, with a margin of "
        "at most 1 (python -m bench rates)\n"
    )
    assert not list(tmp_path.glob("runs/*"))


def test_rates_are_shown_without_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("lr=polynomial,cosine", "lr.gamma0=0.1", "staleness=0", "optimizer.momentum=0,0.5")
    assert main(["rates", "-m", *TINY, f"runs_dir={tmp_path}", *words]) == 0
    said = capsys.readouterr().out
    assert said.count("shape:   convergent (t^-0.75: an infinite sum, with a finite one of the squares)\n") == 2
    assert said.count("shape:   ends (0 from the end of the run on: the sum of the rates is finite)\n") == 2
    assert said.count("covered: yes, if the loss is smooth: plain SGD, stashed weights, averaged gradients of ") == 2
    assert said.count("covered: no: optimizer=sgd has momentum=0.5\n") == 2
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
    """At stages of a staleness of 2 and 0, with a momentum of 0.995."""
    drifts = [word for word in DRIFTS if not (words == ("optimizer=adamw",) and "momentum" in word)]
    assert main(["rates", *TINY, f"runs_dir={tmp_path}", *drifts, *words, "staleness=2"]) == 0
    told = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[-3:]]
    rows = [row for row in told if row and row[0] in "01"]
    assert [row[3:] != ["-", "-"] for row in rows] == known
    for row, delay in zip(rows, (2, 0), strict=True):
        if row[3] != "-":
            curvature = largest_step(0.995, delay) / float(row[3])
            assert float(row[4]) == pytest.approx(0.002 * curvature / largest_step(0.995, delay), rel=0.01)


def test_a_plot_is_columns_of_eighths() -> None:
    assert plot([0.0, 1.0, 2.0, 4.0], height=2) == ["   █", " ▄██"]
    assert plot([1.0] * 7, width=3, height=1) == ["███"]
