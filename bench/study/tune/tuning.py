"""A study's configuration: what each key of ``conf/tune.yaml`` beside a run's means, and what it may be."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from bench.keys import STRICT, Cardinal, Positive, Text
from bench.system import sqlite

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
    """Which schedules are tried: those of the shape convergent, with gamma0 up to where the update with the trial's
    momentum is stable (``bound``), with that as a constraint, or at any rate (``shape``); or any (``none``)."""
    objectives: list[Literal["quality", "time"]]
    """What is searched for: the quality in the end, or that and the seconds until ``target``, by the split for
    validation."""
    target: Positive | None
    """The quality to reach by this split; None where no time is searched for."""
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
        if self.objectives not in (["quality"], ["quality", "time"]):
            raise ValueError(f"objectives={self.objectives} must be [quality] or [quality, time]")
        if "time" in self.objectives and self.target is None:
            raise ValueError("target=None: must be the quality to reach where objectives has time")
        for key, allowed in RANGES.items():
            low, high = getattr(self, key)
            if not (low <= high and all(map(ALLOWED[allowed], (low, high)))):
                raise ValueError(f"{key}={[low, high]}: must be two numbers {allowed}, the smaller one first")

    @property
    def prunes(self) -> bool:
        """Whether trials are pruned: Optuna's pruners know one objective."""
        return self.pruning and len(self.objectives) == 1
