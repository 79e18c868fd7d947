"""The task of foretelling the next token of a text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from bench.task.contract import LearningTask, Quality, Sums

if TYPE_CHECKING:
    from torch import Tensor


EXCESS = Quality("excess", "nats", "down", 4, 0.01)
"""What a loss is above the entropy rate of its source, where that is known."""


class Language(LearningTask):
    """Foretell every next token of a text, judged by what the true ones cost: nats a token."""

    unit: ClassVar[str] = "token"
    short: ClassVar[str] = "tok"
    qualities: ClassVar[tuple[Quality, ...]] = (
        Quality("loss", "nats", "down", 4, 0.01),
        Quality("perplexity", "", "down", 3, 0.05),
        Quality("bits_per_character", "bits", "down", 4, 0.015),
        EXCESS,
    )

    def loss(self, outputs: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        """Cross entropy of logits [batch, context, vocabulary] against tokens [batch, context]."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction=reduction)

    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        return {"loss": float(self.loss(outputs, targets, "sum")), "units": float(targets.numel())}

    def judged(self, sums: Sums) -> dict[str, float]:
        """Nats a token, and the number of tokens, all as likely, that would cost as much."""
        loss = sums["loss"] / sums["units"]
        return {"loss": loss, "perplexity": math.exp(loss) if loss < 700 else math.inf}


TOKENS = Language()
