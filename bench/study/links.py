"""What agents exchange messages by: measured here, or said by the user."""

from __future__ import annotations

import math
import multiprocessing
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config import ConfigError
from bench.engine.seat import seats
from bench.plan.costs import FREE, Link, Pace
from bench.study.elsewhere import PRELOAD, Call, results, temporary

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

    from bench.engine.pace import Paces


@dataclass(frozen=True)
class Links:
    """Between stages and between replicas, and what a message costs the cores at its ends."""

    stages: Link
    replicas: Link
    send: Pace = FREE
    """Of the end that hands over."""
    receive: Pace = FREE
    """Of the end that takes: nothing where messages lie in memory that both share."""
    averaging: Pace = FREE
    """Of each replica."""


def neighbours() -> Links:
    """Of agents on this machine: two of them exchange messages for a second."""
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
    """Of agents on two hosts that this machine plays, over a line of so many bytes a second, which costs nothing else.

    To send and to receive by TCP keeps its cores busy, and to wake who waits takes a time, as measured now.
    """
    paces = _paces()
    line = Link(bandwidth, paces.hosts.message)
    return Links(line, line, paces.handling, paces.handling, paces.averaging)


def _paces() -> Paces:
    server()
    with tempfile.TemporaryDirectory(dir=temporary()) as place:
        asked = [Call(_exchange, rank, Path(place, "store")) for rank in range(2)]
        paces, _ = results(asked)
    found: Paces = paces
    return found


def _exchange(rank: int, store: Path) -> Paces:
    """What each of two processes runs."""
    import torch
    from torch.distributed import FileStore

    from bench.engine.pace import exchange_paces
    from bench.engine.world import joined
    from bench.study.compose import compose

    torch.set_num_threads(1)
    with joined(compose(["stages=2", "replicas=1"]), seats(2)[rank], FileStore(str(store), 2)) as world:
        return exchange_paces(world)


def network_link(gigabits: float | None, microseconds: float | None) -> Links | None:
    """The link that was asked for; None: that of this machine.

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


def server() -> ForkServerContext:
    """What the measuring processes are forked from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOAD, "bench.engine.measured", "bench.engine.pace"])
    return context
