"""What agents exchange messages by: measured here, or said by the user."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.engine.seat import seats
from bench.keys import ConfigError
from bench.plan.forecast.costs import FREE, Link, Pace
from bench.system.call import Call, results, temporary, warm_up

if TYPE_CHECKING:
    from bench.engine.measure.messages import Paces

MEASURING = ("bench.engine.measure.piece", "bench.engine.measure.messages")
"""Modules that the measuring processes alone need."""


@dataclass(frozen=True)
class Links:
    """The links between stages and between replicas, and what a message costs the cores at its ends."""

    stages: Link
    replicas: Link
    send: Pace = FREE
    """What a message costs the agent that hands it over."""
    receive: Pace = FREE
    """What a message costs the agent that takes it: nothing where messages lie in memory that both share."""
    averaging: Pace = FREE
    """What averaging a message costs each replica."""


def neighbour_links() -> Links:
    """Measure the links of agents on this machine: two of them exchange messages for a second."""
    paces = _paces()
    handing, among = paces.handing, paces.replicas
    # What cannot be told from nothing is nothing.
    bandwidth = 1 / among.byte if among.byte else math.inf
    return Links(
        Link(latency=max(paces.neighbours.message - handing.message, 0.0), shared=True),
        Link(bandwidth, among.message / 2),
        handing,
        averaging=paces.averaging,
    )


def across(bandwidth: float) -> Links:
    """Measure the links of agents on two hosts that this machine plays; the line lets ``bandwidth`` bytes a second pass
    and costs nothing else.

    To send and to receive by TCP keeps its cores busy, and to wake who waits takes a time, as measured now.
    """
    paces = _paces()
    line = Link(bandwidth, paces.hosts.message)
    return Links(line, line, paces.handling, paces.handling, paces.averaging)


def _paces() -> Paces:
    warm_up(MEASURING)
    with tempfile.TemporaryDirectory(dir=temporary()) as place:
        asked = [Call(_exchange, rank, Path(place, "store")) for rank in range(2)]
        paces, _ = results(asked)
    found: Paces = paces
    return found


def _exchange(rank: int, store: Path) -> Paces:
    """Exchange messages as one of two processes; return what they cost."""
    import torch
    from torch.distributed import FileStore

    from bench.engine.measure.messages import exchange_paces
    from bench.engine.world import joined
    from bench.study.sweep.compose import compose

    torch.set_num_threads(1)
    with joined(compose(["stages=2", "replicas=1"]), seats(2)[rank], FileStore(str(store), 2)) as world:
        return exchange_paces(world)


def network_link(gigabits: float | None, microseconds: float | None) -> Links | None:
    """The link that the user describes; None where that of this machine is meant.

    Raises:
        ConfigError: a number makes no sense.
    """
    if gigabits is None and microseconds is None:
        return None
    if gigabits is None or not 0 < gigabits < math.inf:
        raise ConfigError(f"--bandwidth={gigabits}: must be a finite number of Gbit/s above 0, given with --latency")
    if microseconds is None or not 0 <= microseconds < math.inf:
        raise ConfigError(f"--latency={microseconds}: must be a finite number of microseconds, given with --bandwidth")
    link = Link(gigabits * 1e9 / 8, microseconds * 1e-6)
    return Links(link, link)
