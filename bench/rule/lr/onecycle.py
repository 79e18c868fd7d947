"""``lr=onecycle``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Fraction, Share
from bench.rule.lr.contract import Schedule


@dataclass(frozen=True)
class OneCycle(Schedule):
    """The rate climbs to gamma0 in the run's first part, then falls to 0, each by half a cosine (Smith and Topin
    2018)."""

    __pydantic_config__ = STRICT
    name: Literal["onecycle"]
    rise: Fraction
    """Share of the run that climbs."""
    start: Share
    """Share of gamma0 that it starts from."""
