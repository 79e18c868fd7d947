from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.keys import Fraction
from bench.rule.averaging.contract import Averaging


@dataclass(frozen=True)
class Lazy(Averaging):
    """Every replica keeps a share of its own weights, and takes the rest from the mean of all."""

    name: ClassVar[str] = "lazy"
    kept: Fraction
    """The share of its own weights that stays."""

    def mixing(self, replicas: int) -> NDArray[np.float64]:
        return self.kept * np.eye(replicas) + (1 - self.kept) / replicas
