"""What every learning rate has."""

from __future__ import annotations

from dataclasses import dataclass

from bench.choice import Cardinal, NonNegative, Positive


@dataclass(frozen=True)
class Schedule:
    """What every learning rate has. Updates, t, count from 0."""

    gamma0: Positive
    """Learning rate that it starts from, after the warm-up."""
    warmup_steps: Cardinal
    """Updates over which the rate climbs linearly to what it would otherwise be."""
    staleness_power: NonNegative
    """A stage whose gradients are tau updates old takes the rate divided by (1 + tau) to this power."""
    require_convergent: bool
    """Whether to refuse to train outside the conditions under which delayed gradients are proven to converge."""
