"""``clip=none``: gradients are taken as large as they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bench.rule.clip.contract import Clip

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class NoClip(Clip):
    """Gradients are taken as large as they come."""

    name: ClassVar[str] = "none"
    place: ClassVar[int] = 1
    acts: ClassVar[bool] = False

    def by_parameter(self, parameters: Sequence[nn.Parameter]) -> None:
        """Leave them."""

    def outside(self, run: Any) -> None:  # noqa: ARG002
        return None

    def try_out(self, run: Any) -> None:
        """Do nothing: there is nothing to try."""
