"""Weights of the near future: where momentum alone would lead a stage's weights (SpecTrain, Chen et al. 2018, arXiv
1809.02839)."""

from __future__ import annotations

from bench.engine.weights.versions import Weights
from bench.rule.optimizer.contract import Flat


class Lookahead:
    """The weights of each forward of one stage, kept until its backward.

    Args:
        weights: the stage's own; their statistics are shared.
        forwards: how many are in flight at once, at most.
    """

    def __init__(self, weights: Weights, optimizer: Flat, forwards: int) -> None:
        self._weights, self._optimizer = weights, optimizer
        self._ring = Weights(weights.module, forwards)

    @property
    def kept(self) -> int:
        """Versions of the weights that there is memory for, beside the stage's own."""
        return self._ring.kept

    def ahead(self, steps: int, rate: float) -> Weights:
        """Predict ``w - steps * rate * velocity``, by the newest weights and velocity.

        Args:
            steps: updates that will be made before the forward's gradient is applied.
        """
        buffer = self._ring.advance()
        buffer.copy_(self._weights.current)
        velocity = self._optimizer.velocity
        if velocity is not None and steps:
            buffer.add_(velocity, alpha=-steps * rate)
        return self._ring
