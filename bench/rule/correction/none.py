"""``correction=none``: gradients are applied as they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bench.rule.correction.contract import Correction


@dataclass(frozen=True)
class NoCorrection(Correction):
    """Gradients are applied as they come."""

    name: ClassVar[str] = "none"
    place: ClassVar[int] = 1

    def outside(self, run: Any) -> None:  # noqa: ARG002
        return None
