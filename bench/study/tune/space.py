"""What a study searches: from what a trial suggests to the run that tries it.

Unless the conditions are ``none``, only families of the shape ``convergent`` are suggested, with powers that keep it
(:mod:`bench.study.tune.tuning`); with ``bound`` gamma0 ends where the update with the trial's momentum stops being
stable at the initial weights, so that no trial's margin is above 1, by construction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from bench.config import RunConfig, parse
from bench.keys import ConfigError
from bench.rule.convergence import limits_of
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
    curvature: float
    """The largest curvature of the loss at the initial weights."""
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
        optimizer = keys["optimizer"]
        keys["optimizer"] = {"name": self.study.run.optimizer.name, "nesterov": optimizer.get("nesterov")}
        if "decayed" in optimizer:  # not all of them
            keys["optimizer"]["decayed"] = optimizer["decayed"]
        keys["correction"] = list(self.corrections)
        ranges: dict[str, Any] = {name: getattr(own, name) for name in RANGES}
        how: dict[str, Any] = {
            "conditions": own.conditions,
            "objectives": self.study.objectives,
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
            if name == "gamma0" and self.study.tuning.conditions == "bound":
                high = max(low, min(high, self.ceiling(optimizer)))
            return float(low if low == high else trial.suggest_float(name, low, high, log=log))

        family = self.study.kinds(LearningRate)[_choose(trial, "family", self.study.families)]
        own, run = self.study.run.lr, self.study.run
        optimizer = run.optimizer.values() | run.optimizer.search(number)
        lr: dict[str, Any] = {
            **self.study.start(family),
            "gamma0": number("gamma0", log=True),
            **family.search(number, self.length),
        }
        lr |= {"warmup_steps": round(number("warmup") * self.updates), "staleness_power": own.staleness_power}
        kind = self.study.kinds(Correction)[_choose(trial, "correction", self.corrections)]
        correction = self.study.start(kind) | kind.search(number)
        return {"lr": lr | {"require_convergent": False}, "optimizer": optimizer, "correction": correction}

    def ceiling(self, optimizer: Mapping[str, Any]) -> float:
        """The largest gamma0 with which every stage's update is stable, by an optimizer with these values.

        NaN where that is not known. A trial's correction is left out: those that make gradients or rates smaller leave
        a stable update stable; of weight prediction it is not derived.
        """
        run = self.study.run
        plain = replace(run, correction=NoCorrection()).resolved()
        limits = limits_of(parse({**plain, "optimizer": optimizer}), 1.0, self.curvature)
        steps = [limit.stable / limit.rate for limit in limits if limit.stable is not None]
        return min(steps) if len(steps) == len(limits) else math.nan

    def margin(self, run: RunConfig) -> float:
        """The largest margin of a stage in a trial's run, which lies as far above 1 as gamma0 above its ceiling."""
        return run.lr.peak(self.updates, self.updates_per_epoch) / self.ceiling(run.optimizer.values())


def space_of(study: Study, curvature: float, updates: int, updates_per_epoch: int) -> Space:
    """The search space of a study.

    Args:
        curvature: the largest one of the loss at the initial weights.

    Raises:
        ConfigError: a range or a correction does not go with the run, or the conditions do not.
    """
    space = Space(study, _corrections(study), curvature, updates, updates_per_epoch)
    if study.tuning.conditions in ("bound", "constraint"):
        _check_limits(space)
    return space


def _check_limits(space: Space) -> None:
    """Check that the limit of stability is known, and that every momentum leaves a gamma0 below it.

    Raises:
        ConfigError: it is not known, or one does not.
    """
    tuning, run = space.study.tuning, space.study.run
    # It falls as momentum grows, where there is staleness, and grows with it where there is none.
    lowest = min(space.ceiling(_with(space.study, end)) for end in (0, 1))
    if math.isnan(lowest):
        raise ConfigError(
            f"tuning.conditions={tuning.conditions}: up to which rate a run is stable is not known for "
            f"optimizer={run.optimizer.name} weights={run.weights} averaging={run.averaging.name}; allowed are shape "
            "and none"
        )
    if tuning.conditions == "bound" and tuning.gamma0[0] > lowest:
        raise ConfigError(
            f"tuning.gamma0={tuning.gamma0}: with some momentum of tuning.momentum={tuning.momentum} this run is "
            f"stable only up to {lowest:.4g}; allowed is to start below it, or another of tuning.conditions"
        )


def _with(study: Study, end: int) -> dict[str, Any]:
    """The optimizer's values at one end, 0 or 1, of every range that it searches."""
    optimizer = study.run.optimizer
    return optimizer.values() | optimizer.search(lambda name, log=False: study.range(name)[end])  # noqa: ARG005


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
    optimizer = _with(study, 0)
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
