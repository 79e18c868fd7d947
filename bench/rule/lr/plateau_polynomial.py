"""``lr=plateau_polynomial``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Positive
from bench.rule.lr.contract import Schedule


@dataclass(frozen=True)
class PlateauPolynomial(Schedule):
    """The rate is gamma0 (1 + n/t0)^-p through the whole of epoch n, from 0."""

    __pydantic_config__ = STRICT
    name: Literal["plateau_polynomial"]
    t0: Positive
    """The time scale of the fall, in epochs."""
    p: Positive
