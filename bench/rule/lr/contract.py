"""What every learning rate is: a rate for each update, and what becomes of it in the long run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from bench.choice import Choice, Number
from bench.keys import Cardinal, NonNegative, Positive


@dataclass(frozen=True)
class LongRun:
    """What rates do in the long run; no finite beginning, such as a warm-up, changes their sums."""

    text: str
    infinite_sum: bool
    """Whether the rates sum to infinity."""
    finite_squares: bool
    """Whether the squares of the rates have a finite sum."""
    constant: bool = False
    """Whether the rate stays what it is in the end."""


ENDED = LongRun("0 from the end of the run on", infinite_sum=False, finite_squares=True)
STEADY = LongRun("constant in the end", infinite_sum=True, finite_squares=False, constant=True)


class Length(NamedTuple):
    """How long a run is."""

    updates: int
    updates_per_epoch: int

    @property
    def epochs(self) -> int:
        """The number of epochs; the last one may be cut short."""
        return math.ceil(self.updates / self.updates_per_epoch)


@dataclass(frozen=True)
class LearningRate(Choice):
    """A learning rate; updates, t, count from 0."""

    group: ClassVar[str] = "lr"
    example: ClassVar[Mapping[str, Any]] = {}
    """Values of its own keys with which its shape is convergent, if it is with any."""
    gamma0: Positive
    """The step size that it starts from, after the warm-up."""
    warmup_steps: Cardinal
    """Updates over which the rate climbs linearly to what it would otherwise be."""
    staleness_power: NonNegative
    """A stage whose gradients are tau updates old takes the rate divided by (1 + tau) to this power."""
    require_convergent: bool
    """Refuse a run whose shape is not convergent, that no theorem covers, or whose margin is above 1."""
    margin_every: Cardinal = field(default=0, kw_only=True)
    """Flush points from one estimate of the curvature and the margin to the next, off the clock; 0: none."""

    # ------------------------------------------------------------------------------------------- what a choice says
    def part(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """Return the share of gamma0 that an update takes, the warm-up left out.

        Args:
            step: the update, ``0 .. steps - 1``.
            steps: updates in the whole run.
            steps_per_epoch: updates in an epoch, at least 1.
        """
        raise NotImplementedError

    def long_run(self) -> LongRun:
        """Return what the rates do in the long run, as if training went on for ever."""
        raise NotImplementedError

    def climbs(self) -> float:
        """Return the share of the run in which the rate climbs, the warm-up left out; 1 if it may climb anywhere."""
        return 0.0

    @classmethod
    def search(cls, number: Number, length: Length) -> dict[str, Any]:  # noqa: ARG003
        """Return the values of its own keys that a study's trial tries."""
        return {}

    def outside(self, run: Any) -> str | None:  # noqa: ARG002
        rise = self.climbs()
        return f"climbs over {rise:g} of the run" if rise else None

    # --------------------------------------------------------------------------------------- what follows from that
    def try_out(self, run: Any) -> None:  # noqa: ARG002
        self.long_run()
        rates = [self.peak(2, 1), *(self.rate(step, 2, 1) for step in range(2))]
        if not all(math.isfinite(rate) and rate >= 0 for rate in rates):
            raise ValueError(f"rates are {rates}; they must be finite, and at least 0")

    def rate(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """Return the learning rate of one update, of a stage without staleness; arguments as of :meth:`part`.

        The warm-up is linear, from ``1 / warmup_steps`` at the first update to 1 (Goyal et al. 2017, arXiv 1706.02677).
        """
        warm = (step + 1) / self.warmup_steps if step < self.warmup_steps else 1.0
        return warm * (self.gamma0 * self.part(step, steps, steps_per_epoch))

    def peak(self, steps: int, steps_per_epoch: int) -> float:
        """Return the largest learning rate of a run: at the end of the warm-up, or of the climb, if that is later."""
        top = self.climbs() * steps
        first = math.floor(top) if top < steps else 0
        last = min(max(math.ceil(top), self.warmup_steps), steps - 1)
        return max(self.rate(step, steps, steps_per_epoch) for step in range(first, last + 1))

    def share(self, delay: int) -> float:
        """Return the share of the rate that a stage takes whose gradients are ``delay`` updates old."""
        return math.pow(1 + delay, -self.staleness_power)


def half_cosine(progress: float) -> float:
    """Return what falls from 1 to 0 along half a cosine while ``progress`` grows from 0 to 1."""
    return (1 + math.cos(math.pi * progress)) / 2


def updates(epochs: int, max_steps: int | None, steps_per_epoch: int) -> int:
    """Return the number of updates in a whole run."""
    return min(epochs * steps_per_epoch, max_steps or epochs * steps_per_epoch)
