"""The forward, backward and update of a piece of the network that is measured without its neighbours."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from torch import Tensor, nn

from bench.config import RunConfig
from bench.engine.numerics import Numerics
from bench.engine.profile import Row, now
from bench.engine.weights.versions import Weights
from bench.task.tensors import Tensors


class Update:
    """Makes one update of a piece after the other, as a worker does, at a rate of 0.

    Args:
        whole: the piece is timed as one layer, which costs it next to nothing.
    """

    def __init__(self, config: RunConfig, numerics: Numerics, weights: Weights, whole: bool) -> None:
        self._numerics, self._weights, self._whole = numerics, weights, whole
        self._optimizer = config.optimizer.flat(weights.current, weights.layout)
        self._flight: deque[tuple[Row, list[nn.Parameter]]] = deque()

    def __call__(self, x: Tensors, targets: Tensor | None, flight: int = 0) -> Sequence[list[float]]:
        """Time each layer's forward and backward, the collecting of the gradients, and the optimizer's step, in
        seconds.

        The backward is that of the batch that came so many calls before, whose weights one update does not write over.

        Args:
            targets: None where the network goes on; the gradient of what it takes is made up.
        """
        device, weights = self._numerics.device, self._weights
        layers = [weights.module] if self._whole else weights.module.children()
        newest = Row(layers, x, targets, self._numerics)
        self._flight.append((newest, weights.parameters))
        if len(self._flight) <= flight:
            return ()
        oldest, parameters = self._flight.popleft()
        backward, gradients = oldest.backward(parameters)
        started = now(device)
        weights.collect(gradients)
        collected = now(device)
        self._optimizer.step(weights.advance(), weights.gradient, 0.0)
        return newest.forward, backward, [collected - started], [now(device) - collected]

    def forget(self) -> None:
        """Drop the batches in flight."""
        self._flight.clear()
