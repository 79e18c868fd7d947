"""A study's configuration: what each key of ``conf/tune.yaml`` beside a run's means, and what it may be."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from bench.choice import choices
from bench.config import RunConfig
from bench.keys import STRICT, Cardinal, ConfigError, Count, Share, Text, parse_as
from bench.rule.convergence import verdict
from bench.rule.correction.contract import Correction
from bench.rule.lr.contract import LearningRate
from bench.study.sweep.compose import Point
from bench.study.sweep.library import Primary
from bench.study.sweep.settings import Settings
from bench.system import sqlite

TUNE = Primary("tune", ("trials", "tuning"))
"""What a study is composed from."""

SERVERS = ("postgresql", "mysql", "mariadb")


def _database(place: str) -> str:
    """Refuse a URL that Optuna does not take, or that would keep nothing."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        is_url = "://" in place or re.match(r"(sqlite|postgresql|mysql|mariadb)(\+\w+)?:", place)
        fits = not is_url or bool(re.match(sqlite.FILE, place)) or make_url(place).get_backend_name() in SERVERS
    except (ArgumentError, ValueError):
        fits = False
    if not fits:
        raise PydanticCustomError(
            "database",
            "must be the path of an SQLite file, sqlite:///<file>, postgresql://<user>@<host>/<database> or "
            "mysql://<user>@<host>/<database>",
        )
    return place


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Range = Annotated[list[float], Field(min_length=2, max_length=2)]
ABOVE_0, SHARE, FRACTION = "above 0", "above 0 and at most 1", "at least 0 and below 1"
ALLOWED: dict[str, Callable[[float], bool]] = {
    ABOVE_0: lambda value: value > 0,
    SHARE: lambda value: 0 < value <= 1,
    FRACTION: lambda value: 0 <= value < 1,
}
RANGES = {
    "gamma0": ABOVE_0,
    "t0": ABOVE_0,
    "p": ABOVE_0,
    "final": SHARE,
    "rise": FRACTION,
    "warmup": FRACTION,
    "momentum": FRACTION,
    "weight_decay": ABOVE_0,
    "beta": SHARE,
    "until": SHARE,
}
"""What the two numbers of each range may be."""


@dataclass(frozen=True)
class Tuning:
    """How a study searches."""

    __pydantic_config__ = STRICT
    study: Name
    """The study's name in the database, and that of its file in ``conf/lr/tuned``."""
    database: Annotated[str, Field(min_length=1), AfterValidator(_database)]
    """The path of an SQLite file, or any URL that Optuna takes."""
    conditions: Literal["bound", "constraint", "shape", "none"]
    """What schedules meet of the conditions of convergence: all, with gamma0 up to the cap (``bound``) or the cap as a
    constraint; those on the shape, at any rate; or none."""
    objectives: list[Literal["accuracy", "time"]]
    """What is searched for: the final test accuracy, or that and the seconds until ``target``."""
    target: Share
    """The test accuracy to reach, as a share of 1."""
    pruning: bool
    """Whether trials that lag behind are ended; with one objective only."""
    repeats: Cardinal
    """Fresh seeds that the best trial's settings are run with in the end."""
    families: list[Text] | None
    """Schedules to choose from; None: all that the conditions allow."""
    corrections: list[Text] | None
    """Corrections to choose from; None: all that the run allows."""
    gamma0: Range
    t0: Range
    """Share of the run's updates."""
    p: Range
    final: Range
    """Share of gamma0 that multistep and exponential end at."""
    rise: Range
    """Share of the run in which onecycle climbs."""
    warmup: Range
    """Share of the run that the warm-up takes."""
    momentum: Range
    """The momentum; of adamw, its first beta."""
    weight_decay: Range
    beta: Range
    """The factor ``beta`` of the correction ``shrink``."""
    until: Range
    """Share of the run for which the correction ``lr_discount`` acts."""

    def __post_init__(self) -> None:
        if self.objectives not in (["accuracy"], ["accuracy", "time"]):
            raise ValueError(f"objectives={self.objectives} must be [accuracy] or [accuracy, time]")
        for key, allowed in RANGES.items():
            low, high = getattr(self, key)
            if not (low <= high and all(map(ALLOWED[allowed], (low, high)))):
                raise ValueError(f"{key}={[low, high]}: must be two numbers {allowed}, the smaller one first")
        for name in self.families or []:
            self._check_family(name)
        unknown = [name for name in self.corrections or [] if name not in choices(Correction)]
        if unknown or self.corrections == []:
            allowed = ", ".join(choices(Correction))
            raise ValueError(f"corrections={self.corrections}: allowed are null and a list of {allowed}")
        if not self.schedules:
            allowed = ", ".join(choices(LearningRate))
            raise ValueError(f"families={self.families}: allowed are null and a list of {allowed}")
        if self.conditions != "none":
            self._check_powers()

    @property
    def schedules(self) -> list[str]:
        """The families that trials choose from."""
        if self.families is not None:
            return self.families
        return self._allowed

    @property
    def prunes(self) -> bool:
        """Whether trials are pruned: Optuna's pruners know one objective."""
        return self.pruning and len(self.objectives) == 1

    @property
    def _allowed(self) -> list[str]:
        known = choices(LearningRate).items()
        return [name for name, kind in known if self.conditions == "none" or can_converge(kind)]

    def _check_family(self, name: str) -> None:
        allowed = self._allowed
        if name not in allowed:
            where = "" if self.conditions == "none" else f" with tuning.conditions={self.conditions}"
            raise ValueError(f"families={self.families}: {name!r} is not among {', '.join(allowed)}, allowed{where}")

    def _check_powers(self) -> None:
        """Check that whatever has a power converges with either end of ``p``, and so between them.

        Raises:
            ValueError: one does not.
        """
        powers = [kind for kind in choices(LearningRate).values() if "p" in kind.example]
        for p, kind in itertools.product(self.p, powers):
            found = verdict(example_of(kind, p=p))
            if found.word != "convergent":
                failed = "; ".join(f"{condition.name}? no, {condition.why}" for condition in found.failed)
                raise ValueError(
                    f"p={self.p}: a {kind.name} schedule with p={p:g} has the verdict {found.word} ({failed}); "
                    "allowed is above 0.5 and at most 1, or tuning.conditions=none"
                )


def can_converge(family: type[LearningRate]) -> bool:
    """Whether a schedule meets the conditions with some values of its keys."""
    return verdict(example_of(family)).word == "convergent"


def example_of(family: type[LearningRate], **changes: float) -> LearningRate:
    """A schedule of the family that converges if the family can, with some of its own keys changed."""
    keys = {"gamma0": 1.0, "warmup_steps": 0, "staleness_power": 0.0, "require_convergent": False}
    return family(**{**keys, **family.example, **changes})


@dataclass(frozen=True)
class Study:
    """One study: the run that its trials vary, and how."""

    run: RunConfig
    settings: Settings
    trials: Count
    """The number of trials in all."""
    tuning: Tuning


@dataclass(frozen=True)
class _Own:
    """The keys that a study has beside its run's."""

    __pydantic_config__ = STRICT
    trials: Count
    tuning: Tuning


def study_of(point: Point) -> Study:
    """Check what a point of ``tune`` has composed.

    Raises:
        ConfigError: a key is missing, unknown, of the wrong type or out of range, or does not go with the run's.
    """
    own = parse_as(_Own, point.own)
    run = replace(point.config, lr=replace(point.config.lr, require_convergent=False))
    if not point.settings.launcher.here:
        raise ConfigError(
            f"launcher={point.settings.launcher.name!r}: tune runs its trials here; several of it share a study"
        )
    return Study(run, point.settings, own.trials, own.tuning)
