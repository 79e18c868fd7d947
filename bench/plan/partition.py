"""Where a network of layers in a row is cut into stages.

A cut is the index of the first layer of a stage; the first stage needs none, so K stages have K - 1 cuts.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise


def cut(costs: Sequence[float], stages: int) -> list[int]:
    """Cut layers into ``stages`` runs of at least one layer each, such that the slowest stage is as fast as can be.

    The slowest stage sets the pace of a pipeline. Among the cuts that leave the same slowest stage, the most even one
    wins (least sum of squared stage costs), and among equally even ones the lexicographically last: a layer that costs
    nothing stays with the one before it.

    Args:
        costs: the cost of each layer, at least 0, in any unit (seconds, operations).
        stages: K, from 1 to the number of layers.

    Returns:
        The K - 1 cuts, increasing. Exact, by dynamic programming in O(K n^2) for n layers.

    Raises:
        ValueError: a cost is negative or not finite, or there are not enough layers.
    """
    _check(costs, stages)
    # Summed from each first layer anew, as differences of prefix sums would round equal stages to unequal costs.
    spans = [[0.0] * first + list(accumulate(costs[first:], initial=0.0)) for first in range(len(costs))]
    slowest, _ = _best(spans, stages, max)
    evenness = [[cost * cost if cost <= slowest else math.inf for cost in row] for row in spans]
    return _best(evenness, stages, operator.add)[1]


def bounds(cuts: Sequence[int], layers: int) -> list[tuple[int, int]]:
    """The (first layer, last layer + 1) of each stage.

    Raises:
        ValueError: the cuts do not leave every stage at least one layer.
    """
    if len(cuts) >= layers:
        raise ValueError(
            f"partition={list(cuts)} makes {len(cuts) + 1} stages; a network of {layers} layers has 1..{layers}"
        )
    if any(not 1 <= position < layers for position in cuts):
        raise ValueError(f"partition={list(cuts)} must lie in 1..{layers - 1}: the network has {layers} layers")
    if any(position >= following for position, following in pairwise(cuts)):
        raise ValueError(f"partition={list(cuts)} must increase")
    return list(pairwise([0, *cuts, layers]))


def _best(
    prices: Sequence[Sequence[float]], stages: int, join: Callable[[float, float], float]
) -> tuple[float, list[int]]:
    """The least total price and its lexicographically last cuts; ``prices[first][end]`` is that of one stage.

    Bellman's recursion over stages: the best way to cut the layers before ``end`` into one stage more ends in a stage
    ``first .. end - 1`` behind the best way to cut the layers before ``first``.
    """
    layers = len(prices)
    best: dict[int, tuple[float, list[int]]] = {end: (prices[0][end], []) for end in range(1, layers + 1)}
    for count in range(2, stages + 1):
        best = {
            end: min(
                (
                    (join(best[first][0], prices[first][end]), [*best[first][1], first])
                    for first in range(count - 1, end)
                ),
                key=_cheapest_then_last,
            )
            for end in range(count, layers + 1)
        }
    return best[layers]


def _cheapest_then_last(option: tuple[float, list[int]]) -> tuple[float, list[int]]:
    price, cuts = option
    return price, [-position for position in cuts]


def _check(costs: Sequence[float], stages: int) -> None:
    if not 1 <= stages <= len(costs):
        raise ValueError(f"stages={stages} must lie in 1..{len(costs)}: the network has {len(costs)} layers")
    for layer, cost in enumerate(costs):
        if not (math.isfinite(cost) and cost >= 0):
            raise ValueError(f"cost={cost} of layer {layer} must be finite and at least 0")
