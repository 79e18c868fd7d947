"""Where a delayed gradient step stops being stable: on a quadratic the oracle diverges where theory says.

A step on curvature h whose gradient is tau updates old is ``w <- w - lr * h * w_old``. Its characteristic polynomial
``z^(tau+1) - z^tau + lr * h`` has all roots inside the unit circle if and only if ``lr < (2/h) sin(pi / (4 tau + 2))``.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.engine.meter import Meter
from bench.engine.method.reference import Reference
from bench.engine.numerics import Numerics
from bench.engine.worker import Stretch
from bench.task.batches import Batches
from bench.task.classification import IMAGES
from tests import tiny

CURVATURE = 3.0
CPU = torch.device("cpu")


class Shift(nn.Module):
    """A stage with one weight, which it adds to what passes through (factor 1), or does not (0)."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x + self.factor * self.weight


class Quadratic(Numerics):
    """The loss is ``h/2 * output^2``, and the network's output the sum of the weights that count."""

    def loss(self, logits: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        assert reduction == "mean"
        return CURVATURE / 2 * (logits - targets).square()


class Zeros(Batches):
    """No data but zeros."""

    def __init__(self) -> None:
        self.batches = 1

    def inputs(self, _epoch: int, _index: int) -> Tensor:
        return torch.zeros((), dtype=torch.float64)

    def targets(self, epoch: int, index: int) -> Tensor:
        return self.inputs(epoch, index)


def trajectory(stages: int, staleness: int, stage: int, rate: float, updates: int) -> list[float]:
    """The weight of ``stage`` at every tick, in a pipeline where no other weight counts."""
    run = tiny.config(
        stages=stages,
        staleness=staleness,
        engine="reference",
        optimizer={"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, "nesterov": False},
    )
    modules = [Shift(float(k == stage)) for k in range(stages)]
    numerics = Quadratic(CPU, torch.float64, autocast=False, channels_last=False, task=IMAGES)
    reference = Reference(run, numerics, [modules], [Zeros()], Meter(CPU))
    path = []
    for tick in reference.begin(Stretch(0, updates, 0, [[rate] * updates] * stages)):
        path.append(modules[stage].weight.item())
        reference.step(tick)
    return [*path, modules[stage].weight.item()]


def bound(delay: int) -> float:
    return 2 / CURVATURE * math.sin(math.pi / (4 * delay + 2))


def radius(delay: int, rate: float) -> float:
    """Largest modulus of the characteristic roots: the factor that the weight grows by in an update."""
    polynomial = np.zeros(delay + 2)
    polynomial[:2] = 1, -1
    polynomial[-1] += rate * CURVATURE
    return float(np.abs(np.roots(polynomial)).max())


def growth(path: list[float], delay: int) -> float:
    """The factor per update, between the mean squares of the last two windows of ten turns."""
    window = 10 * (4 * delay + 2)
    early, late = np.square(path[-2 * window : -window]), np.square(path[-window:])
    return float((late.mean() / early.mean()) ** (0.5 / window))


# (stages, staleness, stage) and the delay that they give.
DELAYS = {
    (1, 2, 0): 0,
    (3, 2, 2): 0,
    (2, 1, 0): 1,
    (2, 2, 0): 2,
    (3, 2, 1): 2,
    (4, 1, 0): 3,
    (3, 2, 0): 4,
    (3, 3, 0): 6,
    (4, 2, 0): 6,
}


@pytest.mark.parametrize(("place", "delay"), DELAYS.items(), ids=str)
@pytest.mark.parametrize("share", [0.99, 1.01], ids=["just-under", "just-over"])
def test_the_bound_on_the_learning_rate_is_sharp(place: tuple[int, int, int], delay: int, share: float) -> None:
    path = trajectory(*place, share * bound(delay), 24 * (4 * delay + 2) + 100)
    factor = growth(path, delay)
    assert (factor < 1) == (share < 1)
    assert factor - 1 == pytest.approx(radius(delay, share * bound(delay)) - 1, rel=0.05)
