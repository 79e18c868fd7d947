"""What a study searches: from what a trial suggests to the run that tries it.

Unless the conditions are ``none``, only families whose verdict is ``convergent`` are suggested, with powers that keep
it (:mod:`bench.study.tune.settings`); with ``bound`` gamma0 ends at the cap, so that every trial meets all conditions
by construction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

from bench.choice import Choice, Chosen, choices, is_own, named
from bench.config import RunConfig, parse
from bench.keys import ConfigError
from bench.rule.convergence import verdict
from bench.rule.correction.contract import Correction
from bench.rule.correction.none import NoCorrection
from bench.rule.lr.contract import LearningRate, Length
from bench.study.tune.settings import RANGES, Study


class Suggests(Protocol):
    """What is asked of Optuna's trial, also of one that has ended."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


@dataclass(frozen=True)
class Space:
    """A study's search space."""

    study: Study
    corrections: tuple[str, ...]
    """The corrections that trials choose from."""
    ceiling: float
    """The largest gamma0 that may be suggested."""
    updates: int
    """Updates of a run."""
    updates_per_epoch: int

    @property
    def epochs(self) -> int:
        """Epochs of a run; the last one may be cut short."""
        return self.length.epochs

    @property
    def length(self) -> Length:
        return Length(self.updates, self.updates_per_epoch)

    def fingerprint(self) -> dict[str, Any]:
        """What must be the same for two studies to be one: all that a trial's result depends on but its suggestions."""
        keys = self.study.run.canonical()
        own = self.study.tuning
        keys["lr"] = {"staleness_power": self.study.run.lr.staleness_power}
        keys["optimizer"] = {"name": self.study.run.optimizer.name, "nesterov": keys["optimizer"].get("nesterov")}
        keys["correction"] = list(self.corrections)
        ranges: dict[str, Any] = {name: getattr(own, name) for name in RANGES}
        how: dict[str, Any] = {
            "conditions": own.conditions,
            "objectives": own.objectives,
            "families": families_of(self.study),
        }
        how["pruning"] = own.prunes
        if "time" in own.objectives:
            how["target"] = own.target
        return keys | {f"tuning.{key}": value for key, value in {**how, **ranges}.items()}

    def suggest(self, trial: Suggests) -> dict[str, Any]:
        """The groups of a run's configuration that a trial decides: ``lr``, ``optimizer`` and ``correction``."""

        def number(name: str, log: bool = False) -> float:
            low, high = range_of(self.study, name)
            high = min(high, self.ceiling) if name == "gamma0" else high
            return float(low if low == high else trial.suggest_float(name, low, high, log=log))

        families = families_of(self.study)
        family = kinds_of(LearningRate, self.study.run.lr)[_choose(trial, "family", families)]
        own = self.study.run.lr
        lr: dict[str, Any] = {
            **start(family, own),
            "gamma0": number("gamma0", log=True),
            **family.search(number, self.length),
        }
        lr |= {"warmup_steps": round(number("warmup") * self.updates), "staleness_power": own.staleness_power}
        run = self.study.run
        kind = kinds_of(Correction, run.correction)[_choose(trial, "correction", self.corrections)]
        correction = start(kind, run.correction) | kind.search(number)
        optimizer = run.optimizer.values() | run.optimizer.search(number)
        return {"lr": lr | {"require_convergent": False}, "optimizer": optimizer, "correction": correction}

    def run(self, settings: dict[str, Any]) -> RunConfig:
        """The run that tries what :meth:`suggest` has returned."""
        return parse({**self.study.run.resolved(), **settings})


def space_of(study: Study, ceiling: float, updates: int, updates_per_epoch: int) -> Space:
    """The search space of a study.

    Args:
        ceiling: the largest rate within the caps of all stages; it bounds gamma0 where the conditions are ``bound``.

    Raises:
        ConfigError: a range or a correction does not go with the run.
    """
    tuning = study.tuning
    low, _ = tuning.gamma0
    if tuning.conditions == "bound" and low > ceiling:
        raise ConfigError(
            f"tuning.gamma0={tuning.gamma0}: the cap of this run is {ceiling:.4g}; allowed is to start below it, "
            "or another of tuning.conditions"
        )
    top = ceiling if tuning.conditions == "bound" else math.inf
    return Space(study, _corrections(study), top, updates, updates_per_epoch)


def _corrections(study: Study) -> tuple[str, ...]:
    """The corrections that trials choose from; without staleness one does nothing, and none is suggested."""
    if study.run.staleness == 0 or study.run.stages == 1:
        return (NoCorrection.name,)
    asked, known = study.tuning.corrections, kinds_of(Correction, study.run.correction)
    return tuple(name for name in asked or known if _goes(study, known[name], asked is not None))


def _goes(study: Study, kind: type[Correction], asked: bool) -> bool:
    """Whether a run takes a correction; one that was asked for by name has to."""

    def least(name: str, log: bool = False) -> float:  # noqa: ARG001
        return range_of(study, name)[0]

    # With values as a trial may have them: a run's own momentum, say, is not the trials'.
    optimizer = study.run.optimizer.values() | study.run.optimizer.search(least)
    plain = replace(study.run, correction=NoCorrection()).resolved()
    correction = start(kind, study.run.correction) | kind.search(least)
    try:
        parse({**plain, "optimizer": optimizer, "correction": correction})
    except ConfigError as error:
        if asked:
            raise ConfigError(f"tuning.corrections={study.tuning.corrections}: {error}") from None
        return False
    return True


def families_of(study: Study) -> list[str]:
    """The learning rates that trials choose from: the study's, and a user's own that the run has."""
    own = study.run.lr
    if is_own(type(own)):
        return study.tuning.schedules
    converges = verdict(replace(own, **own.example)).word == "convergent"
    return [*study.tuning.schedules, *([own.name] if converges or study.tuning.conditions == "none" else [])]


def start(kind: type[Choice], own: Choice) -> dict[str, Any]:
    """What a trial's values of a choice begin with: its name and, of a user's own, the run's keys, which it keeps
    where its search does not name them."""
    return own.values() if type(own) is kind and not is_own(kind) else named(kind)


def kinds_of(contract: type[Chosen], own: Chosen) -> dict[str, type[Chosen]]:
    """The suite's choices of a group by name, and the run's, which may be a user's own."""
    return choices(contract) | {own.name: type(own)}


def range_of(study: Study, name: str) -> tuple[float, float]:
    """The study's range of that name, or the one that a choice of the run says itself."""
    if name in RANGES:
        low, high = getattr(study.tuning, name)
        return low, high
    for choice in study.run.choices:
        if name in choice.ranges:
            return choice.ranges[name]
    raise ConfigError(f"tuning.{name}: there is no such range; a choice that searches it has to say it in its ranges")


def _choose(trial: Suggests, name: str, choices: list[str] | tuple[str, ...]) -> str:
    return str(trial.suggest_categorical(name, list(choices))) if len(choices) > 1 else choices[0]
