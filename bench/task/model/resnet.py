"""``model=resnet``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Count


@dataclass(frozen=True)
class ResNet:
    """CIFAR ResNet of He et al. 2016 (parameter-free shortcuts), or with ``widen`` > 1 a wider one."""

    __pydantic_config__ = STRICT
    name: Literal["resnet"]
    depth: Count
    """Layers with weights, 6n + 2: 8, 14, 20, 32, 44, 56, 110."""
    width: Count
    """Channels of the first group; the second and the third have two and four times as many."""

    def __post_init__(self) -> None:
        check_depth(self.depth, 6, 2)


def check_depth(depth: int, blocks: int, rest: int) -> None:
    if depth < blocks + rest or (depth - rest) % blocks:
        allowed = [blocks * n + rest for n in range(1, 5)]
        raise ValueError(f"depth={depth} must be {blocks}n + {rest}: {', '.join(map(str, allowed))}, ...")
