"""What every correction for staleness is: three hooks in the training of a stage, of which none does anything here."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from bench.choice import Choice, Number


class Correction(Choice):
    """What is done about staleness. Without staleness no correction may change a bit, and none is asked."""

    group: ClassVar[str] = "correction"
    foresees: ClassVar[bool] = False
    """Whether a forward uses the weights that momentum alone would lead to by the time of its update."""

    changed: ClassVar[str] = "delayed gradients, or their rates"
    """What of delayed training it changes, so that no theorem speaks of it."""

    @classmethod
    def search(cls, number: Number) -> dict[str, Any]:  # noqa: ARG003
        """Return the values of its keys that a study's trial tries."""
        return {}

    def discount(self, delay: int, step: int, steps: int) -> float:  # noqa: ARG002
        """Return the share of the learning rate that a stage takes.

        Args:
            delay: age of the stage's gradients in updates, at least 0.
            step: the update, ``0 .. steps - 1``.
            steps: updates in the whole run.
        """
        return 1.0

    def shrinkage(self) -> float:
        """Return the factor on a gradient that comes back through a stage boundary."""
        return 1.0

    def outside(self, run: Any) -> str | None:
        """Say what it changes, where there is staleness and so something to correct."""
        return f"changes {self.changed}" if run.staleness and run.stages > 1 else None

    def try_out(self, run: Any) -> None:  # noqa: ARG002
        said = [self.discount(1, 0, 2), self.shrinkage()]
        if not all(math.isfinite(number) for number in said):
            raise ValueError(f"the discount and the shrinkage are {said}; they must be finite")
