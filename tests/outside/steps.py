from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from bench.keys import Fraction
from bench.rule.optimizer.contract import Optimizer
from bench.rule.optimizer.layout import FlatLayout


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """Steps of a gradient over the root of its mean square (Tieleman and Hinton 2012)."""

    name: ClassVar[str] = "rmsprop"
    alpha: Fraction
    """Share of the mean square that stays at an update."""

    def by_parameter(self, parameters: Sequence[nn.Parameter], layout: FlatLayout) -> torch.optim.Optimizer:
        return torch.optim.RMSprop(parameters, lr=0.0, alpha=self.alpha, foreach=False)
