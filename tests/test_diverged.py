"""A run that has diverged has no quality: not in its record, nor in any mean; how many have is said."""

from __future__ import annotations

import math

import pytest
import torch

from bench.engine.numerics import Numerics
from tests import tiny

NAN, INF = float("nan"), float("inf")
ENGINES = ("distributed", "reference")


def test_logits_that_are_not_finite_name_no_class() -> None:
    """An argmax of NaN is class 0, which some images are of."""
    run = tiny.config(batch_size=10)
    batches = tiny.batches_of(tiny.dataset_of(run), seed=0, batch_size=10).judged["test"]
    numerics = Numerics.of(run, torch.device("cpu"))
    targets = batches.targets(0)
    right = torch.nn.functional.one_hot(targets, 3).double()
    assert 0 < int((targets == 0).sum()) < 10
    assert numerics.score(right, batches, 0).sums["right"] == 10
    assert numerics.score(torch.full((10, 3), NAN), batches, 0).sums["right"] == 0
    for value in (NAN, INF):
        spoilt = right.clone()
        spoilt[:4, 1] = value
        found = numerics.score(spoilt, batches, 0)
        assert found.sums["right"] == 6
        assert not torch.tensor(found.sums["loss"]).isfinite()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("updates", [1, 20])
def test_a_network_that_is_not_finite_has_no_quality(engine: str, updates: int) -> None:
    """Whether the training loss tells already or, as after a single update, only that of the test images."""
    lr = {**tiny.VALUES["lr"], "gamma0": 1e200, "warmup_steps": 0}
    found = tiny.alone(tiny.config(engine=engine, lr=lr, max_steps=updates))
    assert (found.status, len(found.epochs)) == ("diverged", 1)
    assert (found.epochs[0]["loss/train"] < 100) == (updates == 1)
    for numbers in (found.metrics, found.epochs[0]):
        assert math.isnan(numbers["accuracy/test"])
        assert math.isnan(numbers["loss/test"])
    assert found.metrics["throughput/images_per_second"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loss_over_the_limit_leaves_no_quality(engine: str) -> None:
    """Though the network still names classes; what it was worth before stays."""
    whole = tiny.alone(tiny.config(engine=engine))
    first, second = (epoch["loss/train"] for epoch in whole.epochs)
    assert whole.status == "done"
    assert all(0 <= epoch["accuracy/test"] <= 1 for epoch in whole.epochs)
    limit = min(first, second)
    found = tiny.alone(tiny.config(engine=engine, loss_limit=limit * (1 - 1e-9)))
    assert found.status == "diverged"
    assert math.isnan(found.metrics["accuracy/test"])
    assert math.isnan(found.metrics["loss/test"])
    assert found.metrics["loss/train"] == found.epochs[-1]["loss/train"] > 0
