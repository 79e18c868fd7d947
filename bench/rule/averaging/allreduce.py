"""``averaging=allreduce``: the replicas of a stage average their gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT


@dataclass(frozen=True)
class AllReduce:
    """Gradients are averaged over the replicas of a stage at every update."""

    __pydantic_config__ = STRICT
    name: Literal["allreduce"]
