"""``data=cifar10`` and ``data=cifar100``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Place


@dataclass(frozen=True)
class CIFAR:
    """torchvision's CIFAR; ``python -m bench download data=cifar10`` fetches it."""

    __pydantic_config__ = STRICT
    name: Literal["cifar10", "cifar100"]
    folder: Place
    augment: bool
    """Whether to crop at random out of a 4-pixel border, and to mirror at random."""
