"""What training costs on this machine, layer by layer: what a prediction of throughput is made of."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.engine.profile import Layer


class Passes(NamedTuple):
    """Seconds of one layer's forward and backward."""

    forward: float
    backward: float


class Halves(NamedTuple):
    """Seconds of one layer's backward in two, as ``zero_bubble`` makes it; 0 of a layer that has inputs."""

    input: float
    """Seconds to the gradients of the layer's input alone."""
    weights: float
    """Seconds to the gradients of its weights, after that."""


class Speed(NamedTuple):
    """What training layers in a row costs that one agent holds, a batch of one size; or joined, the whole network."""

    layers: list[Layer]
    """The layers' messages, and the costs by which a run would cut the network."""
    passes: list[Passes]
    """Seconds of each layer, in a row as in training. The network's last one's hold the loss."""
    held: list[Passes]
    """The same where a batch's backward comes after the next one's forward, so that caches hold less of its own."""
    halves: list[Halves]
    """Seconds of each layer's backward in two, measured as :attr:`held`."""
    parameter_bytes: list[int]
    """Bytes of each layer's parameters."""
    data: float
    """Seconds to prepare a batch's inputs; 0 where others do."""
    collect: float
    """Seconds a parameter byte to gather the gradients, at the end of a backward."""
    update: float
    """Seconds a parameter byte of the optimizer's step."""
    jitter: float
    """The deviation of most updates' seconds, over their mean (:func:`bench.engine.measure.piece.spread`)."""


def mean_speed(speeds: Sequence[Speed]) -> Speed:
    """Average the speeds of processes that computed with the same layers at the same time."""
    first, count = speeds[0], len(speeds)

    def means(*tables: Sequence[tuple[float, ...]]) -> Iterator[tuple[float, ...]]:
        """Average tables layer by layer."""
        for rows in zip(*tables, strict=True):
            yield tuple(sum(seconds) / count for seconds in zip(*rows, strict=True))

    return Speed(
        first.layers,
        [Passes(*row) for row in means(*(speed.passes for speed in speeds))],
        [Passes(*row) for row in means(*(speed.held for speed in speeds))],
        [Halves(*row) for row in means(*(speed.halves for speed in speeds))],
        first.parameter_bytes,
        *next(means(*([speed[5:]] for speed in speeds))),
    )


def joined_speed(speeds: Sequence[Speed]) -> Speed:
    """Join the speeds of a network's pieces, in their order, to that of the whole network."""
    bytes_of = [sum(speed.parameter_bytes) for speed in speeds]
    total = max(sum(bytes_of), 1)
    collect, update = (
        sum(size * seconds for size, seconds in zip(bytes_of, per_byte, strict=True)) / total
        for per_byte in ([speed.collect for speed in speeds], [speed.update for speed in speeds])
    )
    return Speed(
        [layer for speed in speeds for layer in speed.layers],
        [passes for speed in speeds for passes in speed.passes],
        [passes for speed in speeds for passes in speed.held],
        [halves for speed in speeds for halves in speed.halves],
        [size for speed in speeds for size in speed.parameter_bytes],
        speeds[0].data,
        collect,
        update,
        statistics.fmean(speed.jitter for speed in speeds),
    )
