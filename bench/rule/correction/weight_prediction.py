"""``correction=weight_prediction``: forwards at the weights of the near future."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT


@dataclass(frozen=True)
class WeightPrediction:
    """A forward at the weights that its update will find if momentum alone moves them (SpecTrain, arXiv 1809.02839)."""

    __pydantic_config__ = STRICT
    name: Literal["weight_prediction"]
