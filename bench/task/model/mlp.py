"""``model=mlp``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Count


@dataclass(frozen=True)
class MLP:
    """Fully connected network with ReLU."""

    __pydantic_config__ = STRICT
    name: Literal["mlp"]
    hidden: Count
    """Units of each hidden layer."""
    layers: Count
    """Number of hidden layers."""
