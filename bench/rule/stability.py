"""Up to which step an update with momentum and delayed gradients is stable on a quadratic.

On a quadratic of curvature h the update is linear, and it is stable if all roots z of its characteristic equation lie
inside the unit circle. With ``a = rate * h``, momentum m and a gradient that is tau updates old the equation is::

    heavy ball   (z - 1) (z - m) z^(tau - 1) = -a
    Nesterov     (z - 1) (z - m) z^tau = -a ((1 + m) z - m)

For a small a all roots are inside. The first one leaves where a root ``z = e^(i theta)`` solves the equation for the
least positive a; both sides' phases give theta, and their sizes a. Without momentum both are
``2 sin(pi / (4 tau + 2))``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

STEPS_A_TURN = 64
"""Points in which a turn of the phase is looked at for a crossing."""


def largest_step(momentum: float, delay: int, nesterov: bool = False) -> float:
    """The largest stable ``rate * curvature``.

    Args:
        momentum: the share m of the velocity that stays at an update, at least 0 and below 1.
        delay: updates between the weights of a gradient and its application, tau.
        nesterov: whether the step looks one momentum step ahead, as torch's SGD with ``nesterov`` does.
    """
    phase, size = _nesterov(momentum, delay) if nesterov else _heavy_ball(momentum, delay)
    return min(size(theta) for theta in _crossings(phase, STEPS_A_TURN * (delay + 2)))


Of = Callable[[float], float]


def _heavy_ball(momentum: float, delay: int) -> tuple[Of, Of]:
    """The phase and the size of a at ``z = e^(i theta)``."""

    def phase(theta: float) -> float:
        return (delay - 0.5) * theta + _angle(theta, 1.0, momentum) - math.pi / 2

    return phase, lambda theta: 2 * math.sin(theta / 2) * _length(theta, 1.0, momentum)


def _nesterov(momentum: float, delay: int) -> tuple[Of, Of]:
    def phase(theta: float) -> float:
        ahead = _angle(theta, 1.0, momentum) - _angle(theta, 1 + momentum, momentum)
        return (delay + 0.5) * theta + ahead - math.pi / 2

    def size(theta: float) -> float:
        return 2 * math.sin(theta / 2) * _length(theta, 1.0, momentum) / _length(theta, 1 + momentum, momentum)

    return phase, size


def _angle(theta: float, scale: float, shift: float) -> float:
    """The phase of ``scale e^(i theta) - shift``."""
    return math.atan2(scale * math.sin(theta), scale * math.cos(theta) - shift)


def _length(theta: float, scale: float, shift: float) -> float:
    return math.hypot(scale * math.sin(theta), scale * math.cos(theta) - shift)


def _crossings(phase: Of, steps: int) -> list[float]:
    """Where a phase is a multiple of a whole turn, in (0, pi]."""
    from scipy.optimize import brentq

    points = [math.pi * number / steps for number in range(1, steps + 1)]
    found = []
    for low, high in zip([1e-12, *points], points, strict=False):
        turns = [phase(theta) / (2 * math.pi) for theta in (low, high)]
        for turn in range(math.ceil(min(turns)), math.floor(max(turns)) + 1):
            found.append(float(brentq(lambda theta, turn=turn: phase(theta) - 2 * math.pi * turn, low, high)))
    return found
