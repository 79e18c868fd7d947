"""``data=digits``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT


@dataclass(frozen=True)
class Digits:
    """scikit-learn's handwritten digits, 8 x 8, embedded: 1,437 to train on and 360 to test on."""

    __pydantic_config__ = STRICT
    name: Literal["digits"]
