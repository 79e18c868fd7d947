"""What a study searches: from what a trial suggests to the run that tries it.

Unless the conditions are ``none``, only families whose verdict is ``convergent`` are suggested, with powers that keep
it (:mod:`bench.study.tune.tuning`); with ``bound`` gamma0 ends at the cap, so that every trial meets all conditions
by construction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

from bench.config import parse
from bench.keys import ConfigError
from bench.rule.correction.contract import Correction
from bench.rule.correction.none import NoCorrection
from bench.rule.lr.contract import LearningRate, Length
from bench.study.tune.study import Study
from bench.study.tune.tuning import RANGES


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
            "families": self.study.families,
        }
        how["pruning"] = own.prunes
        if "time" in own.objectives:
            how["target"] = own.target
        return keys | {f"tuning.{key}": value for key, value in {**how, **ranges}.items()}

    def suggest(self, trial: Suggests) -> dict[str, Any]:
        """The groups of a run's configuration that a trial decides: ``lr``, ``optimizer`` and ``correction``."""

        def number(name: str, log: bool = False) -> float:
            low, high = self.study.range(name)
            high = min(high, self.ceiling) if name == "gamma0" else high
            return float(low if low == high else trial.suggest_float(name, low, high, log=log))

        family = self.study.kinds(LearningRate)[_choose(trial, "family", self.study.families)]
        own = self.study.run.lr
        lr: dict[str, Any] = {
            **self.study.start(family),
            "gamma0": number("gamma0", log=True),
            **family.search(number, self.length),
        }
        lr |= {"warmup_steps": round(number("warmup") * self.updates), "staleness_power": own.staleness_power}
        run = self.study.run
        kind = self.study.kinds(Correction)[_choose(trial, "correction", self.corrections)]
        correction = self.study.start(kind) | kind.search(number)
        optimizer = run.optimizer.values() | run.optimizer.search(number)
        return {"lr": lr | {"require_convergent": False}, "optimizer": optimizer, "correction": correction}


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
    asked, known = study.tuning.corrections, study.kinds(Correction)
    return tuple(name for name in asked or known if _goes(study, known[name], asked is not None))


def _goes(study: Study, kind: type[Correction], asked: bool) -> bool:
    """Whether a run takes a correction; one that was asked for by name has to."""

    def least(name: str, log: bool = False) -> float:  # noqa: ARG001
        return study.range(name)[0]

    # With values as a trial may have them: a run's own momentum, say, is not the trials'.
    optimizer = study.run.optimizer.values() | study.run.optimizer.search(least)
    plain = replace(study.run, correction=NoCorrection()).resolved()
    correction = study.start(kind) | kind.search(least)
    try:
        parse({**plain, "optimizer": optimizer, "correction": correction})
    except ConfigError as error:
        if asked:
            raise ConfigError(f"tuning.corrections={study.tuning.corrections}: {error}") from None
        return False
    return True


def _choose(trial: Suggests, name: str, choices: list[str] | tuple[str, ...]) -> str:
    return str(trial.suggest_categorical(name, list(choices))) if len(choices) > 1 else choices[0]
