"""Processes that measure a workload's layers: alone, and all at the same time as a run's agents compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import RunConfig
from bench.study.predict.links import MEASURING
from bench.system.call import Call, barrier, results, warm_up

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

    from bench.engine.measure.speed import Speed
    from bench.engine.profile import Layer


def costs_of_layers(config: RunConfig, prepared: Path | None, how: str) -> list[Layer]:
    """The layers of the whole network, with ``measured`` or ``counted`` costs."""
    warm_up(MEASURING)
    layers: list[Layer] = Call(_layers, config, prepared, how).result()
    return layers


def measure_speeds(
    config: RunConfig, prepared: Path | None, layers: list[Layer], spans: Sequence[tuple[int, int]], together: int
) -> dict[int, Speed]:
    """Measure the speed of agents by how many compute at once, alone and ``together``, each with one of the spans."""
    from bench.engine.measure.speed import joined_speed, mean_speed

    warm_up(MEASURING)
    meeting = barrier(together)
    held = [number % len(spans) for number in range(together)]
    alone, *others = zip(
        *results(
            [
                Call(_speeds, config, prepared, layers, spans[piece], number, len(spans), meeting)
                for number, piece in enumerate(held)
            ]
        ),
        strict=True,
    )
    found = {1: joined_speed(alone[: len(spans)])}
    for speeds in others:
        pieces = [
            [speed for speed, piece in zip(speeds, held, strict=True) if piece == own] for own in range(len(spans))
        ]
        found[together] = joined_speed([mean_speed(own) for own in pieces])
    return found


def _speeds(
    config: RunConfig,
    prepared: Path | None,
    layers: list[Layer],
    span: tuple[int, int],
    number: int,
    pieces: int,
    together: Barrier,
) -> list[Speed | None]:
    """Measure in one of these processes: first those with the pieces alone, one after the other, then all at once."""
    from bench.engine.measure.piece import Measured

    measured = Measured(replace(config, replicas=1), config.dataset(prepared), layers, span)
    alone: Speed | None = None
    for turn in range(pieces):
        together.wait()
        if turn == number:
            alone = measured.speed()
    together.wait()
    return [alone, measured.speed()] if together.parties > 1 else [alone]


def _layers(config: RunConfig, prepared: Path | None, how: str) -> list[Layer]:
    from bench.engine.assembly import layers_of

    return layers_of(replace(config, replicas=1), config.dataset(prepared), how)
