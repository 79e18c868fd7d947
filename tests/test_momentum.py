"""The largest stable step with momentum and delay: a literal table, closed forms, and simulation on either side."""

from __future__ import annotations

import math

import pytest

from bench.rule.stability import largest_step

TABLE = {
    0.0: (2, 1, 0.6180, 0.3473, 0.2411),
    0.5: (3, 0.5, 0.2808, 0.1559, 0.1097),
    0.9: (3.8, 0.1, 0.0512, 0.0265, 0.0182),
    0.98: (3.96, 0.02, 0.0100, 0.0051, 0.0034),
}
"""By momentum: the largest steps of heavy ball at delays of 0, 1, 2, 4 and 6 updates."""
GRID = [(momentum, delay) for momentum in (0.0, 0.3, 0.5, 0.9, 0.98) for delay in (0, 1, 2, 3, 4, 6)]


def test_heavy_ball_is_as_in_the_table() -> None:
    for momentum, row in TABLE.items():
        assert [largest_step(momentum, delay) for delay in (0, 1, 2, 4, 6)] == pytest.approx(row, abs=5e-5)


@pytest.mark.parametrize("delay", range(7))
def test_without_momentum_both_are_the_closed_form(delay: int) -> None:
    expected = pytest.approx(2 * math.sin(math.pi / (4 * delay + 2)), rel=1e-9)
    assert largest_step(0.0, delay) == expected
    assert largest_step(0.0, delay, nesterov=True) == expected


@pytest.mark.parametrize("momentum", [0.3, 0.5, 0.9, 0.98])
def test_without_delay_both_are_the_closed_form(momentum: float) -> None:
    """Nesterov's is that of z = -1: ``2 (1 + m) / (1 + 2 m)``."""
    assert largest_step(momentum, 0) == pytest.approx(2 * (1 + momentum), rel=1e-9)
    assert largest_step(momentum, 0, nesterov=True) == pytest.approx(2 * (1 + momentum) / (1 + 2 * momentum), rel=1e-9)
    assert largest_step(momentum, 1) == pytest.approx(1 - momentum, rel=1e-9)


@pytest.mark.parametrize(("momentum", "delay"), GRID)
def test_a_step_diverges_just_above_it(momentum: float, delay: int) -> None:
    for nesterov in (False, True):
        edge = largest_step(momentum, delay, nesterov)
        first, last = distances(momentum, delay, nesterov, 0.98 * edge)
        assert last < 0.5 * first
        first, last = distances(momentum, delay, nesterov, 1.02 * edge)
        assert last > 2 * first


def distances(momentum: float, delay: int, nesterov: bool, step: float) -> tuple[float, float]:
    """The largest distance from the minimum of a quadratic of curvature 1, in the first and the last quarter of a run.

    The update is torch's: ``v <- m v + g``, and the weight moves by ``-step`` times ``v``, with Nesterov ``g + m v``.
    """
    past, velocity, sizes = [1.0] * (delay + 1), 0.0, []
    for _ in range(20000):
        gradient = past[0]
        velocity = momentum * velocity + gradient
        moved = gradient + momentum * velocity if nesterov else velocity
        past = [*past[1:], past[-1] - step * moved]
        sizes.append(abs(past[-1]))
        if sizes[-1] > 1e12:
            break
    part = max(1, len(sizes) // 4)
    return max(sizes[:part]), max(sizes[-part:])
