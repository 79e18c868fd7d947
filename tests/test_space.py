"""What a study may suggest: nothing that is over its margin, whatever the sampler draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import optuna
import pytest
from optuna.trial import FixedTrial

from bench.choice import Number, choices
from bench.keys import ConfigError
from bench.rule.convergence import limits_of, shape_of
from bench.rule.correction.contract import Correction
from bench.rule.lr.contract import LearningRate, Length, LongRun
from bench.rule.stability import largest_step
from bench.study.sweep.compose import single
from bench.study.sweep.library import CONF
from bench.study.tune.database import quiet
from bench.study.tune.space import Space, space_of
from bench.study.tune.study import TUNE, Study, study_of
from bench.study.tune.tuning import RANGES

SMOOTHNESS = 40.0
UPDATES, UPDATES_PER_EPOCH = 220, 22


def study(*overrides: str) -> Study:
    return study_of(single(overrides, TUNE))


def space(*overrides: str) -> Space:
    """The search space of a network whose loss has a known curvature."""
    wanted = study("epochs=10", *overrides)
    return space_of(wanted, SMOOTHNESS, UPDATES, UPDATES_PER_EPOCH)


def draw(found: Space, trials: int, sampler: optuna.samplers.BaseSampler) -> list[dict[str, Any]]:
    """Settings that a sampler suggests, which is told that the largest rates are the best."""
    with quiet():
        search = optuna.create_study(direction="maximize", sampler=sampler)
    settings = []
    for _ in range(trials):
        trial = search.ask()
        settings.append(found.suggest(trial))
        search.tell(trial, settings[-1]["lr"]["gamma0"])
    return settings


@pytest.mark.parametrize("grid", [("stages=2", "staleness=2"), ("stages=4", "staleness=1", "lr.staleness_power=0.5")])
def test_of_200_trials_none_is_over_its_margin(grid: tuple[str, ...]) -> None:
    """Half of them at random, half from a sampler that is drawn to the largest rates."""
    found = space(*grid)
    samplers = (optuna.samplers.RandomSampler(seed=0), optuna.samplers.TPESampler(seed=0, multivariate=True))
    drawn = [settings for sampler in samplers for settings in draw(found, 100, sampler)]
    words, margins, families = Counter[str](), [], set()
    for settings in drawn:
        run = found.study.run_of({**settings, "correction": {"name": "none"}})
        limits = limits_of(run, run.lr.peak(UPDATES, UPDATES_PER_EPOCH), SMOOTHNESS)
        words[shape_of(run.lr).word] += 1
        margins.append(max(limit.margin for limit in limits if limit.margin is not None))
        families.add(run.lr.name)
    assert words == {"convergent": 200}
    assert 0.9 < max(margins) <= 1 + 1e-9
    assert families == {"polynomial", "inverse_time", "plateau_polynomial"}


@pytest.mark.parametrize(("momentum", "step"), [(0.0, 0.6180340), (0.5, 0.2807764), (0.9, 0.0512)])
def test_gamma0_ends_where_the_trials_momentum_is_stable(momentum: float, step: float) -> None:
    """The table of the limits at a delay of 2, over the curvature; and twice that for a stage that takes half."""
    found = space(f"tuning.momentum=[{momentum},{momentum}]", "tuning.corrections=[none]")
    highest = draw(found, 60, optuna.samplers.TPESampler(seed=0))
    top = max(settings["lr"]["gamma0"] for settings in highest)
    optimizer = highest[0]["optimizer"]
    assert found.ceiling(optimizer) == pytest.approx(step / SMOOTHNESS, rel=1e-2)
    assert 0.8 * found.ceiling(optimizer) < top <= found.ceiling(optimizer)
    halved = space("lr.staleness_power=0.63092975")  # of 1 + 2
    assert halved.ceiling(optimizer) == pytest.approx(2 * step / SMOOTHNESS, rel=1e-2)


def test_a_margin_is_the_peak_over_the_ceiling() -> None:
    """And so is a run's at its worst stage."""
    found = space("tuning.conditions=constraint")
    for settings in draw(found, 20, optuna.samplers.RandomSampler(seed=0)):
        run = found.study.run_of({**settings, "correction": {"name": "none"}})
        limits = limits_of(run, run.lr.peak(UPDATES, UPDATES_PER_EPOCH), SMOOTHNESS)
        assert found.margin(run) == pytest.approx(max(limit.margin or 0 for limit in limits))


def test_without_conditions_every_family_is_tried() -> None:
    drawn = draw(space("tuning.conditions=none"), 150, optuna.samplers.RandomSampler(seed=0))
    assert {settings["lr"]["name"] for settings in drawn} == set(choices(LearningRate))
    assert {settings["correction"]["name"] for settings in drawn} == {
        "none",
        "shrink",
        "lr_discount",
        "weight_prediction",
    }
    assert max(settings["lr"]["gamma0"] for settings in drawn) > 10 / SMOOTHNESS


@pytest.mark.parametrize("conditions", ["constraint", "shape"])
def test_a_limit_that_is_no_bound_does_not_bound(conditions: str) -> None:
    drawn = draw(space(f"tuning.conditions={conditions}"), 50, optuna.samplers.RandomSampler(seed=0))
    assert max(settings["lr"]["gamma0"] for settings in drawn) > 10 / SMOOTHNESS
    assert {settings["lr"]["name"] for settings in drawn} == {"polynomial", "inverse_time", "plateau_polynomial"}


def test_the_families_are_those_of_conf() -> None:
    assert {*choices(LearningRate)} == {path.stem for path in (CONF / "lr").glob("*.yaml")}


SUGGESTED = {"gamma0": 0.01, "warmup": 0.1, "momentum": 0.8, "weight_decay": 0.001, "correction": "none"}
"""A suggestion by hand; 0.1 of 220 updates are 22."""
EVERY = {"gamma0": 0.01, "warmup_steps": 22, "staleness_power": 0.0, "require_convergent": False}


@pytest.mark.parametrize(
    ("suggested", "schedule"),
    [
        ({"family": "constant"}, {}),
        ({"family": "cosine"}, {}),
        ({"family": "linear"}, {}),
        ({"family": "warmup_stable_decay"}, {"decay": 0.2, "fall": "straight"}),
        # Half and three quarters of ten epochs; twice a fifth is a twenty-fifth.
        ({"family": "multistep", "final": 0.04}, {"milestones": [5, 7], "factor": 0.2}),
        # 0.5 to the power of 1/10 an epoch is 0.5 after ten.
        ({"family": "exponential", "final": 0.5}, {"factor": 0.5**0.1}),
        ({"family": "onecycle", "rise": 0.25}, {"rise": 0.25, "start": 0.04}),
        ({"family": "polynomial", "t0": 0.5, "p": 0.75}, {"t0": 110.0, "p": 0.75}),
        ({"family": "inverse_time", "t0": 0.5}, {"t0": 110.0}),
        ({"family": "inverse_log", "t0": 2.0}, {"t0": 440.0}),
        ({"family": "inverse_root", "t0": 0.5}, {"t0": 110.0}),
        ({"family": "plateau_polynomial", "t0": 0.5, "p": 1.0}, {"t0": 5.0, "p": 1.0}),
    ],
    ids=lambda case: str(case.get("family", "")),
)
def test_schedules_worked_by_hand(suggested: dict[str, Any], schedule: dict[str, Any]) -> None:
    found = space("tuning.conditions=none")
    settings = found.suggest(FixedTrial({**SUGGESTED, **suggested}))
    assert settings["lr"] == {"name": suggested["family"], **EVERY, **schedule}
    assert settings["optimizer"] == {
        "name": "sgd",
        "momentum": 0.8,
        "weight_decay": 0.001,
        "nesterov": False,
        "decayed": "all",
    }
    assert found.study.run_of(settings).lr.gamma0 == 0.01


@pytest.mark.parametrize(
    ("suggested", "expected"),
    [
        ({"correction": "shrink", "beta": 0.7}, {"name": "shrink", "beta": 0.7}),
        ({"correction": "lr_discount", "until": 0.3}, {"name": "lr_discount", "until": 0.3}),
        ({"correction": "weight_prediction"}, {"name": "weight_prediction"}),
    ],
)
def test_corrections_worked_by_hand(suggested: dict[str, Any], expected: dict[str, Any]) -> None:
    found = space("tuning.conditions=shape")
    settings = found.suggest(FixedTrial({**SUGGESTED, "family": "inverse_time", "t0": 1.0, **suggested}))
    assert found.study.run_of(settings).resolved()["correction"] == settings["correction"] == expected


@dataclass(frozen=True)
class Damped(Correction):
    """A user's own correction, with a range of its own."""

    name: ClassVar[str] = "damped"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {"damping": (0.2, 0.4)}
    factor: float

    @classmethod
    def search(cls, number: Number) -> dict[str, Any]:
        return {"factor": number("damping") * 2}


@dataclass(frozen=True)
class Halving(LearningRate):
    """A user's own learning rate, which converges as 1/t does."""

    name: ClassVar[str] = "halving"
    example: ClassVar[Mapping[str, Any]] = {"t0": 1.0}
    t0: float

    def long_run(self) -> LongRun:
        return LongRun("t^-1", infinite_sum=True, finite_squares=True)

    @classmethod
    def search(cls, number: Number, length: Length) -> dict[str, Any]:
        return {"t0": number("t0", log=True) * length.epochs}


def test_a_users_own_choices_of_the_run_are_searched_too() -> None:
    wanted = study("epochs=10", "tuning.conditions=shape")
    own = Halving(1.0, 0, 0.0, False, 2.0)
    run = replace(wanted.run, correction=Damped(0.5), lr=own)
    found = space_of(replace(wanted, run=run), SMOOTHNESS, UPDATES, UPDATES_PER_EPOCH)
    assert found.corrections == ("none", "shrink", "lr_discount", "weight_prediction", "damped")
    fixed = {**SUGGESTED, "family": "halving", "t0": 2.0, "correction": "damped", "damping": 0.3}
    settings = found.suggest(FixedTrial(fixed))
    assert settings["correction"] == Damped(0.6).values()
    assert list(settings) == ["lr", "optimizer", "correction"]
    assert (settings["lr"]["name"], settings["lr"]["t0"]) == ("halving", 20.0)
    tried = found.study.run_of(settings)
    assert (tried.correction, tried.lr) == (Damped(0.6), Halving(0.01, 22, 0.0, False, 20.0))


@dataclass(frozen=True)
class Held(Correction):
    """A user's own correction that says nothing of what a study may search."""

    name: ClassVar[str] = "held"
    factor: float


@dataclass(frozen=True)
class Plain(LearningRate):
    """A user's own learning rate that says nothing of it either, nor of when it converges."""

    name: ClassVar[str] = "plain"
    low: float

    def long_run(self) -> LongRun:
        return LongRun("constant", infinite_sum=True, finite_squares=False, constant=True)


@dataclass(frozen=True)
class Lost(Held):
    """One that asks for a range that nobody has."""

    name: ClassVar[str] = "lost"

    @classmethod
    def search(cls, number: Number) -> dict[str, Any]:
        return {"factor": number("nowhere")}


@pytest.mark.parametrize(("conditions", "tried"), [("shape", False), ("none", True)])
def test_what_a_users_own_choice_does_not_search_stays_as_in_the_run(conditions: str, tried: bool) -> None:
    wanted = study("epochs=10", f"tuning.conditions={conditions}")
    run = replace(wanted.run, correction=Held(0.5), lr=Plain(1.0, 0, 0.0, False, 0.25))
    found = space_of(replace(wanted, run=run), SMOOTHNESS, UPDATES, UPDATES_PER_EPOCH)
    assert found.corrections[-1] == "held"
    assert ("plain" in found.study.families) is tried
    family = {"family": "plain"} if tried else {"family": "inverse_time", "t0": 2.0}
    settings = found.suggest(FixedTrial({**SUGGESTED, **family, "correction": "held"}))
    assert found.study.run_of(settings).correction == Held(0.5)
    assert settings["lr"].get("low") == (0.25 if tried else None)


def test_a_range_that_nobody_has_is_told() -> None:
    wanted = study("epochs=10", "tuning.corrections=[none]")
    run = replace(wanted.run, correction=Lost(0.5))
    with pytest.raises(ConfigError, match=r"^tuning\.nowhere: there is no such range"):
        space_of(replace(wanted, run=run, tuning=replace(wanted.tuning, corrections=None)), SMOOTHNESS, 220, 22)


@pytest.mark.parametrize(
    ("overrides", "corrections"),
    [
        ((), ("none", "shrink", "lr_discount", "weight_prediction")),
        (("staleness=0",), ("none",)),
        (("stages=1",), ("none",)),
        (("optimizer=adamw", "tuning.conditions=shape"), ("none", "shrink", "lr_discount")),
        (("weights=latest", "tuning.conditions=shape"), ("none", "shrink", "lr_discount")),
        (("replicas=2", "averaging=gossip", "tuning.conditions=shape"), ("none", "shrink", "lr_discount")),
        (("tuning.corrections=[shrink]",), ("shrink",)),
        # What the run has itself is not asked: the trials decide.
        (("correction=shrink", "optimizer.momentum=0"), ("none", "shrink", "lr_discount", "weight_prediction")),
    ],
)
def test_only_corrections_that_do_something_are_suggested(
    overrides: tuple[str, ...], corrections: tuple[str, ...]
) -> None:
    assert space(*overrides).corrections == corrections


def test_adamws_momentum_is_its_first_beta() -> None:
    found = space("optimizer=adamw", "tuning.conditions=shape")
    settings = found.suggest(FixedTrial({**SUGGESTED, "family": "inverse_time", "t0": 1.0}))
    searched = {"betas": [0.8, 0.999], "weight_decay": 0.001}
    assert settings["optimizer"] == {"name": "adamw", "eps": 1e-8, "decayed": "all", **searched}
    assert found.study.run_of(settings).optimizer.name == "adamw"


def test_a_range_of_one_number_is_not_suggested() -> None:
    fixed = [f"tuning.{name}=[0.6,0.6]" for name in RANGES if name != "gamma0"]
    found = space(*fixed, "tuning.families=[polynomial]", "tuning.corrections=[none]")
    settings = found.suggest(FixedTrial({"gamma0": 0.001}))
    assert settings["lr"] == {
        "name": "polynomial",
        **EVERY,
        "gamma0": 0.001,
        "t0": 132.0,
        "p": 0.6,
        "warmup_steps": 132,
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("tuning.gamma0=[0.5,1]", "tuning.momentum=[0,0.9]"),
            f"tuning.gamma0=[0.5, 1.0]: with some momentum of tuning.momentum=[0.0, 0.9] this run is stable only up to "
            f"{largest_step(0.9, 2) / SMOOTHNESS:.4g}; allowed is to start below it, or another of tuning.conditions",
        ),
        (
            ("optimizer=adamw",),
            "tuning.conditions=bound: up to which rate a run is stable is not known for optimizer=adamw "
            "weights=stashed averaging=allreduce; allowed are shape and none",
        ),
        (
            ("weights=latest", "tuning.conditions=constraint"),
            "tuning.conditions=constraint: up to which rate a run is stable is not known for optimizer=sgd "
            "weights=latest averaging=allreduce; allowed are shape and none",
        ),
        (
            ("optimizer=adamw", "tuning.corrections=[weight_prediction]"),
            "tuning.corrections=['weight_prediction']: correction=weight_prediction needs an optimizer with momentum, "
            "not optimizer=adamw",
        ),
        (("tuning.p=[0,1]",), "tuning.p=[0.0, 1.0]: must be two numbers above 0, the smaller one first"),
        (("tuning.p=[-0.5,1]",), "tuning.p=[-0.5, 1.0]: must be two numbers above 0, the smaller one first"),
        (
            ("tuning.p=[0.5,1]",),
            "tuning.p=[0.5, 1.0]: a polynomial schedule with p=0.5 has the shape neighbourhood (t^-0.5: the "
            "sum of their squares is infinite); allowed is above 0.5 and at most 1, or tuning.conditions=none",
        ),
        (("tuning.gamma0=[-1,1]",), "tuning.gamma0=[-1.0, 1.0]: must be two numbers above 0, the smaller one first"),
        (("tuning.gamma0=[1,0.1]",), "tuning.gamma0=[1.0, 0.1]: must be two numbers above 0, the smaller one first"),
        (
            ("tuning.momentum=[0,1]",),
            "tuning.momentum=[0.0, 1.0]: must be two numbers at least 0 and below 1, the smaller one first",
        ),
        (
            ("tuning.families=[cosine]",),
            "tuning.families=['cosine']: 'cosine' is not among polynomial, inverse_time, plateau_polynomial, allowed "
            "with tuning.conditions=bound",
        ),
        (
            ("tuning.families=[cosin]", "tuning.conditions=none"),
            "tuning.families=['cosin']: 'cosin' is not among constant, multistep, cosine, linear, exponential, "
            "onecycle, warmup_stable_decay, polynomial, inverse_time, inverse_log, inverse_root, "
            "plateau_polynomial, allowed",
        ),
        (
            ("tuning.corrections=[shrnk]",),
            f"tuning.corrections=['shrnk']: allowed are null and a list of {', '.join(choices(Correction))}",
        ),
        (("tuning.objectives=[time]",), "tuning.objectives=['time'] must be [quality] or [quality, time]"),
        (
            ("tuning.objectives=[quality,time]",),
            "tuning.target=None: must be the quality to reach where objectives has time",
        ),
        (("tuning.target=95",), "tuning.target=95: must be at most 1, as accuracy is a share"),
        (("tuning.conditions=some",), "tuning.conditions='some': must be 'bound', 'constraint', 'shape' or 'none'"),
        (("trials=0",), "trials=0: must be greater than or equal to 1"),
        (
            ("tuning.famlies=[cosine]",),
            "tuning.famlies: there is no such key; did you mean tuning.families? allowed are beta, conditions, "
            "corrections, database, families, final, gamma0, momentum, objectives, p, pruning, repeats, rise, study, "
            "t0, target, until, warmup, weight_decay",
        ),
    ],
)
def test_what_is_wrong_is_said(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        space(*overrides)
    assert str(caught.value) == message
