"""``averaging=allreduce``: the replicas of a stage average their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.rule.averaging.contract import Averaging


@dataclass(frozen=True)
class AllReduce(Averaging):
    """Gradients are averaged over the replicas of a stage at every update."""

    name: ClassVar[str] = "allreduce"
    place: ClassVar[int] = 1
