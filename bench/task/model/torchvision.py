"""``model=torchvision``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Text


@dataclass(frozen=True)
class Torchvision:
    """Any torchvision classifier that is sequential at the top (alexnet, vgg11_bn, resnet18, mobilenet_v2, ...)."""

    __pydantic_config__ = STRICT
    name: Literal["torchvision"]
    architecture: Text
