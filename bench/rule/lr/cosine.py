"""``lr=cosine``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT
from bench.rule.lr.contract import Schedule


@dataclass(frozen=True)
class Cosine(Schedule):
    """The rate falls from gamma0 to 0 along half a cosine over the whole run."""

    __pydantic_config__ = STRICT
    name: Literal["cosine"]
