"""``model=wide_resnet``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Count
from bench.task.model.resnet import check_depth


@dataclass(frozen=True)
class WideResNet:
    """Wide ResNet of Zagoruyko and Komodakis 2016 (pre-activation)."""

    __pydantic_config__ = STRICT
    name: Literal["wide_resnet"]
    depth: Count
    """Layers with weights, 6n + 4: 10, 16, 22, 28, 40."""
    widen: Count
    """Factor on the widths 16, 32, 64."""

    def __post_init__(self) -> None:
        check_depth(self.depth, 6, 4)
