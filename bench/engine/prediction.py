"""Weights of the near future: where momentum alone would lead a stage's weights."""

from __future__ import annotations

from bench.engine.optimizer import FlatOptimizer
from bench.engine.weights import Weights


class Prediction:
    """The weights of each forward of one stage, kept until its backward.

    Args:
        weights: the stage's own; their statistics are shared.
        steps: momentum steps to look ahead, at least 1; also the forwards that are in flight at once, less one.
    """

    def __init__(self, weights: Weights, optimizer: FlatOptimizer, steps: int) -> None:
        self._weights, self._optimizer, self._steps = weights, optimizer, steps
        self._ring = Weights(weights.module, steps + 1)

    @property
    def kept(self) -> int:
        """Versions that there is memory for, beside the stage's own."""
        return self._ring.kept

    def ahead(self, rate: float) -> Weights:
        """``w - steps * rate * velocity``, by the newest weights and velocity."""
        buffer = self._ring.advance()
        buffer.copy_(self._weights.current)
        velocity = self._optimizer.velocity
        if velocity is not None:
            buffer.add_(velocity, alpha=-self._steps * rate)
        return self._ring
