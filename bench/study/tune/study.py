"""A study: the run that its trials vary, and which choices they make."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.choice import Choice, Chosen, choices, choose, named
from bench.config import RunConfig, parse
from bench.keys import STRICT, ConfigError, Count, parse_as
from bench.origin import is_own
from bench.rule.convergence import shape_of
from bench.rule.correction.contract import Correction
from bench.rule.lr.contract import LearningRate
from bench.study.launcher.contract import Launcher
from bench.study.sweep.compose import Point
from bench.study.sweep.composition import composed
from bench.study.sweep.library import RUN, Primary
from bench.study.sweep.settings import Settings
from bench.study.tune.trials_file import TrialsFile
from bench.study.tune.tuning import RANGES, Tuning
from bench.task.contract import Quality
from bench.task.judgement import Judgement

TUNE = Primary("tune", ("trials", "tuning"))
"""What a study is composed from."""


@dataclass(frozen=True)
class Study:
    """One study: the run that its trials vary, and how."""

    run: RunConfig
    settings: Settings
    trials: Count
    """The number of trials in all."""
    tuning: Tuning
    named: tuple[Choice, ...] = ()
    """Choices of a user's own, beside the run's, that trials may make."""

    def launcher(self) -> Launcher:
        """Make what starts the study's runs; where seconds are searched for, each has its machine to itself."""
        return self.settings.starter(alone="time" in self.tuning.objectives)

    @property
    def judged_by(self) -> str:
        """The split that trials are judged by, for people."""
        return "validation" if self.run.data.validation else "test"

    @property
    def quality(self) -> Quality:
        """What trials are judged by."""
        return Judgement.of(self.run.data.task).quality

    @property
    def objectives(self) -> list[str]:
        """What is searched for, by name: the quality, and maybe the time."""
        return [self.quality.name, *self.tuning.objectives[1:]]

    @property
    def trials_file(self) -> TrialsFile | None:
        """The file that the study is kept in, beside the records of its runs; None where these are in no file."""
        records = self.settings.records
        return TrialsFile(Path(records).with_name("trials.jsonl")) if records else None

    def run_of(self, settings: Mapping[str, Any]) -> RunConfig:
        """The run that tries a trial's settings: its ``lr``, ``optimizer`` and ``correction``."""
        return parse({**self.run.resolved(), **settings})

    def repeats_of(self, settings: Mapping[str, Any]) -> list[RunConfig]:
        """The run that tries a trial's settings, with each of the fresh seeds."""
        config = self.run_of(settings)
        return [replace(config, seed=config.seed + number) for number in range(1, self.tuning.repeats + 1)]

    def kinds(self, contract: type[Chosen]) -> dict[str, type[Chosen]]:
        """What trials may choose of a group, by name: the suite's choices, and the user's own."""
        users = {each.name: type(each) for each in self._users() if isinstance(each, contract)}
        return choices(contract) | users

    def start(self, kind: type[Choice]) -> dict[str, Any]:
        """What a trial's values of a choice begin with: its name and, of a user's own, the keys that it was given,
        which it keeps where its search does not name them."""
        given = [each.values() for each in self._users() if type(each) is kind]
        return given[0] if given else named(kind)

    def range(self, name: str) -> tuple[float, float]:
        """The study's range of that name, or the one that a choice says itself.

        Raises:
            ConfigError: nobody has such a range.
        """
        if name in RANGES:
            low, high = getattr(self.tuning, name)
            return low, high
        for choice in (*self.run.choices, *self.named):
            if name in choice.ranges:
                return choice.ranges[name]
        raise ConfigError(
            f"tuning.{name}: there is no such range; a choice that searches it has to say it in its ranges"
        )

    @property
    def families(self) -> list[str]:
        """The learning rates that trials choose from."""
        return self.tuning.families or self.allowed_families

    @property
    def allowed_families(self) -> list[str]:
        """The learning rates that the conditions allow."""
        known = self.kinds(LearningRate).items()
        return [name for name, kind in known if self.tuning.conditions == "none" or self._converges(kind)]

    def example(self, kind: type[LearningRate], **changes: float) -> LearningRate:
        """A schedule of a family that converges if the family can, with some of its own keys changed."""
        for each in self._users():
            if type(each) is kind:
                return replace(each, **{**kind.example, **changes})
        keys = {"gamma0": 1.0, "warmup_steps": 0, "staleness_power": 0.0, "require_convergent": False}
        return kind(**{**keys, **kind.example, **changes})

    def _converges(self, kind: type[LearningRate]) -> bool:
        return shape_of(self.example(kind)).word == "convergent"

    def _users(self) -> Iterator[Choice]:
        yield from (each for each in (*self.run.choices, *self.named) if not is_own(type(each)))


@dataclass(frozen=True)
class _Own:
    """The keys that a study has beside its run's."""

    __pydantic_config__ = STRICT
    trials: Count
    tuning: Tuning


def study_of(point: Point, primary: Primary = TUNE) -> Study:
    """Check what a point of ``tune`` has composed.

    Raises:
        ConfigError: a key is missing, unknown, of the wrong type or out of range, or does not go with the run's.
    """
    own = parse_as(_Own, point.own)
    run = replace(point.config, lr=replace(point.config.lr, require_convergent=False))
    asked: list[tuple[type[Choice], str]] = [(LearningRate, name) for name in own.tuning.families or []]
    asked += [(Correction, name) for name in own.tuning.corrections or []]
    known = [*choices(LearningRate), *choices(Correction), run.lr.name, run.correction.name]
    users = (_users_own(contract, name, primary) for contract, name in asked if name not in known)
    study = Study(run, point.settings, own.trials, own.tuning, tuple(filter(None, users)))
    _check_names(study)
    study.quality.check("tuning.target", own.tuning.target)
    if study.tuning.conditions != "none":
        _check_powers(study)
    return study


def _users_own(contract: type[Chosen], name: str, primary: Primary) -> Chosen | None:
    """The choice of that name in the user's folder; None if there is none.

    Raises:
        ConfigError: it is wrong.
    """
    if name not in primary.choices(contract.group):
        return None
    # Of a learning rate, gamma0 may be the model's, and trials search it.
    words = [f"{contract.group}={name}", *(["++lr.gamma0=1.0"] if contract is LearningRate else [])]
    return choose(contract, composed(words, replace(RUN, folder=primary.folder, more=primary.more))[0][contract.group])


def _check_names(study: Study) -> None:
    """Check what trials are to choose from.

    Raises:
        ConfigError: there is no such choice, or the conditions do not allow it.
    """
    tuning, known, allowed = study.tuning, study.kinds(Correction), study.allowed_families
    if tuning.corrections == [] or any(name not in known for name in tuning.corrections or []):
        listed = ", ".join(known)
        raise ConfigError(f"tuning.corrections={tuning.corrections}: allowed are null and a list of {listed}")
    if tuning.families == []:
        listed = ", ".join(study.kinds(LearningRate))
        raise ConfigError(f"tuning.families=[]: allowed are null and a list of {listed}")
    for name in tuning.families or []:
        if name not in allowed:
            where = "" if tuning.conditions == "none" else f" with tuning.conditions={tuning.conditions}"
            listed = ", ".join(allowed)
            raise ConfigError(f"tuning.families={tuning.families}: {name!r} is not among {listed}, allowed{where}")


def _check_powers(study: Study) -> None:
    """Check that whatever has a power converges with either end of ``p``, and so between them.

    Raises:
        ConfigError: one does not.
    """
    powers = [kind for kind in study.kinds(LearningRate).values() if "p" in kind.example]
    for p, kind in itertools.product(study.tuning.p, powers):
        found = shape_of(study.example(kind, p=p))
        if found.word != "convergent":
            said = f"a {kind.name} schedule with p={p:g} has the shape {found.word} ({found.why})"
            allowed = "allowed is above 0.5 and at most 1, or tuning.conditions=none"
            raise ConfigError(f"tuning.p={study.tuning.p}: {said}; {allowed}")
