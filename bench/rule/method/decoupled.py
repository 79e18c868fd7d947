"""``method=decoupled``: delayed gradients, the suite's own; at staleness 0 it is back-propagation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.rule.method.contract import Method


@dataclass(frozen=True)
class Decoupled(Method):
    """Every stage trains tick by tick, on gradients as old as its distance from the last stage makes them."""

    name: ClassVar[str] = "decoupled"
    place: ClassVar[int] = 1
    worker: ClassVar[str] = "bench.engine.method.decoupled.Stage"
    oracle: ClassVar[str] = "bench.engine.method.reference.Reference"
    stale: ClassVar[bool] = True
