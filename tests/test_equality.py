"""The distributed engine computes, bit for bit, what the oracle computes; the oracle, what plain PyTorch computes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.engine.train import Outcome
from tests import tiny
from tests.pool import Pool

SGD = tiny.VALUES["optimizer"]
ADAMW = {"name": "adamw", "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.02}
GRID = [(stages, replicas) for stages in (1, 2, 3) for replicas in (1, 2)]
LAGS = [(0, "stashed"), *itertools.product((1, 2, 3), ("stashed", "latest", "recomputed"))]


def assert_same(outcome: Outcome, expected: dict[str, Tensor], *without: str) -> None:
    names = [name for name in expected if not name.endswith(without or ("none",))]
    assert names
    assert set(outcome.state) >= set(names)
    different = [name for name in names if not torch.equal(outcome.state[name], expected[name])]
    worst = max((float((outcome.state[n] - expected[n]).abs().max()) for n in different), default=0.0)
    assert not different, f"{len(different)} of {len(names)} differ, by up to {worst}: {different[:5]}"


@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize(("stages", "replicas"), GRID)
def test_distributed_equals_the_oracle(pool: Pool, stages: int, replicas: int, optimizer: dict[str, Any]) -> None:
    """Every parameter and statistic, after 24 (S=1) or 22 (S=2) updates in two epochs."""
    for staleness, weights in LAGS if stages > 1 else LAGS[:1]:
        values: dict[str, Any] = {
            "stages": stages,
            "replicas": replicas,
            "staleness": staleness,
            "weights": weights,
            "optimizer": optimizer,
            "batch_size": 8 // replicas,
        }
        oracle = tiny.alone(tiny.config(**values, engine="reference"))
        outcome = pool.run(tiny.distributed, stages * replicas, tiny.config(**values))[0]
        assert outcome.epochs[-1]["step"] == oracle.epochs[-1]["step"] >= 20
        assert_same(outcome, oracle.state)
        assert outcome.epochs[-1]["loss/train"] == pytest.approx(oracle.epochs[-1]["loss/train"], rel=1e-12)
        assert outcome.epochs[-1]["accuracy/test"] == oracle.epochs[-1]["accuracy/test"]
