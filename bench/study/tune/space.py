"""What a study searches: from what a trial suggests to the run that tries it.

Unless the conditions are ``none``, only families whose verdict is ``convergent`` are suggested, with powers that keep
it (:mod:`bench.study.tune.settings`); with ``bound`` gamma0 ends at the cap, so that every trial meets all conditions
by construction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from bench.config import RunConfig, parse
from bench.keys import ConfigError
from bench.rule.correction.none import NoCorrection
from bench.rule.optimizer.sgd import SGD
from bench.study.tune.settings import CORRECTIONS, RANGES, Study

ONE_CYCLE_START = 0.04
"""Share of gamma0 that onecycle starts from; the warm-up has the same end."""


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
        return math.ceil(self.updates / self.updates_per_epoch)

    def fingerprint(self) -> dict[str, Any]:
        """What must be the same for two studies to be one: all that a trial's result depends on but its suggestions."""
        keys = self.study.run.canonical()
        own = self.study.tuning
        keys["lr"] = {"staleness_power": self.study.run.lr.staleness_power}
        keys["optimizer"] = {"name": self.study.run.optimizer.name, "nesterov": keys["optimizer"].get("nesterov")}
        keys["correction"] = list(self.corrections)
        ranges: dict[str, Any] = {name: getattr(own, name) for name in RANGES}
        how: dict[str, Any] = {"conditions": own.conditions, "objectives": own.objectives, "families": own.schedules}
        how["pruning"] = own.prunes
        if "time" in own.objectives:
            how["target"] = own.target
        return keys | {f"tuning.{key}": value for key, value in {**how, **ranges}.items()}

    def suggest(self, trial: Suggests) -> dict[str, Any]:
        """The groups of a run's configuration that a trial decides: ``lr``, ``optimizer`` and ``correction``."""
        tuning = self.study.tuning

        def number(name: str, log: bool = False) -> float:
            low, high = getattr(tuning, name)
            high = min(high, self.ceiling) if name == "gamma0" else high
            return float(low if low == high else trial.suggest_float(name, low, high, log=log))

        family = str(_choose(trial, "family", tuning.schedules))
        lr = self._schedule(family, number)
        correction: dict[str, Any] = {"name": _choose(trial, "correction", self.corrections)}
        if correction["name"] == "shrink":
            correction["beta"] = number("beta")
        elif correction["name"] == "lr_discount":
            correction["until"] = number("until")
        return {"lr": lr, "optimizer": self._optimizer(number), "correction": correction}

    def run(self, settings: dict[str, Any]) -> RunConfig:
        """The run that tries what :meth:`suggest` has returned."""
        return parse({**self.study.run.resolved(), **settings})

    def _schedule(self, family: str, number: Callable[..., float]) -> dict[str, Any]:
        epochs = self.epochs
        lr: dict[str, Any] = {"name": family, "gamma0": number("gamma0", log=True)}
        match family:
            case "polynomial":
                lr |= {"t0": number("t0", log=True) * self.updates, "p": number("p")}
            case "inverse_time" | "inverse_log":
                lr |= {"t0": number("t0", log=True) * self.updates}
            case "plateau_polynomial":
                lr |= {"t0": number("t0", log=True) * epochs, "p": number("p")}
            case "multistep":
                milestones = sorted({max(1, epochs // 2), max(1, 3 * epochs // 4)})
                lr |= {"milestones": milestones, "factor": number("final", log=True) ** (1 / len(milestones))}
            case "exponential":
                lr |= {"factor": number("final", log=True) ** (self.updates_per_epoch / self.updates)}
            case "onecycle":
                lr |= {"rise": number("rise"), "start": ONE_CYCLE_START}
        own = self.study.run.lr
        lr |= {"warmup_steps": round(number("warmup") * self.updates), "staleness_power": own.staleness_power}
        return lr | {"require_convergent": False}

    def _optimizer(self, number: Callable[..., float]) -> dict[str, Any]:
        base = self.study.run.resolved()["optimizer"]
        momentum, decay = number("momentum"), number("weight_decay", log=True)
        if isinstance(self.study.run.optimizer, SGD):
            return {**base, "momentum": momentum, "weight_decay": decay}
        return {**base, "betas": [momentum, base["betas"][1]], "weight_decay": decay}


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
        return ("none",)
    asked = study.tuning.corrections
    return tuple(name for name in asked or CORRECTIONS if _goes(study, name, asked is not None))


def _goes(study: Study, name: str, asked: bool) -> bool:
    """Whether a run takes a correction; one that was asked for by name has to."""
    values = {"shrink": {"beta": 1.0}, "lr_discount": {"until": 1.0}}.get(name, {})
    # Any momentum, for weight prediction: the trials have one of their own.
    optimizer = study.run.optimizer
    optimizer = replace(optimizer, momentum=study.tuning.momentum[0]) if isinstance(optimizer, SGD) else optimizer
    plain = replace(study.run, correction=NoCorrection(), optimizer=optimizer).resolved()
    try:
        parse({**plain, "correction": {"name": name, **values}})
    except ConfigError as error:
        if asked:
            raise ConfigError(f"tuning.corrections={study.tuning.corrections}: {error}") from None
        return False
    return True


def _choose(trial: Suggests, name: str, choices: list[str] | tuple[str, ...]) -> str:
    return str(trial.suggest_categorical(name, list(choices))) if len(choices) > 1 else choices[0]
