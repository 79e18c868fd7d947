"""Which weights an optimizer's weight decay shrinks: a key that all of the suite's optimizers have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from bench.rule.optimizer.contract import Optimizer
from bench.rule.optimizer.layout import FlatLayout

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Decaying(Optimizer):
    """An optimizer whose weights shrink, by its key ``weight_decay``."""

    if TYPE_CHECKING:
        weight_decay: float

    decayed: Literal["all", "matrices"] = field(default="all", kw_only=True)
    """Which weights shrink: all, or those of matrices and convolutions, and no bias and no scale."""

    def groups(self, parameters: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
        """Return the parameters as torch's optimizers take them: those that shrink, and those that do not."""
        if self.decayed == "all":
            return [{"params": list(parameters), "weight_decay": self.weight_decay}]
        columns = [parameter for parameter in parameters if parameter.ndim > 1]
        others = [parameter for parameter in parameters if parameter.ndim <= 1]
        return [{"params": columns, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]

    @property
    def decay_of_all(self) -> float:
        """The decay of a kernel that takes all weights at once."""
        return self.weight_decay if self.decayed == "all" else 0.0

    def shrinking(self, layout: FlatLayout) -> list[slice]:
        """Return where the weights lie that shrink."""
        return layout.spans(lambda place: self.decayed == "all" or place.has_columns) if self.weight_decay else []

    def shrunk(self, layout: FlatLayout) -> list[slice]:
        """Return where those weights lie that shrink by themselves, as such a kernel cannot tell them from others."""
        return [] if self.decayed == "all" else self.shrinking(layout)


def shrink(weights: Tensor, spans: Sequence[slice], share: float) -> None:
    """Shrink the weights of some spans by a share of them, in place (Loshchilov and Hutter 2019)."""
    for span in spans:
        weights[span].mul_(1 - share)
