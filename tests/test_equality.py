"""The distributed engine computes, bit for bit, what the oracle computes; the oracle, what plain PyTorch computes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed import Store

from bench.config import RunConfig
from bench.task.batches import Batches
from bench.task.dataset import Dataset
from bench.task.model.contract import Model
from tests import tiny
from tests.both import assert_close, assert_same, both, distributed, oracle, statistics
from tests.designs import in_full
from tests.pool import Pool, joined

SGD = tiny.VALUES["optimizer"]
ADAMW = {"name": "adamw", "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.02}
OPTIMIZERS = pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["sgd", "adamw"])
GRID = [(stages, replicas) for stages in (1, 2, 3) for replicas in (1, 2)]
LAGS = [(0, "stashed"), *itertools.product((1, 2, 3), ("stashed", "latest", "recomputed"))]
CUTS: dict[int, list[int]] = {1: [], 2: [2], 3: [1, 3], 4: [1, 2, 3]}
"""Cuts of ResNet-8's fourteen entries (convolution, four of each of three residual blocks, linear layer), in the middle
of a block but for the first of two; or of a small network's four."""


def configured(stages: int, replicas: int, **changes: Any) -> RunConfig:
    """Two epochs of ten updates, on the same 8 images a tick whatever the grid."""
    values: dict[str, Any] = {
        "stages": stages,
        "replicas": replicas,
        "partition": CUTS[stages],
        "batch_size": 8 // replicas,
        "data": {
            "name": "synthetic",
            "shape": [3, 8, 8],
            "classes": 3,
            "train_size": 80,
            "test_size": 6,
            "validation": 0.0,
        },
    }
    return tiny.config(**{**values, **changes})


# ------------------------------------------------------------------------------------------- distributed and the oracle
def small_network(_: Model, dataset: Dataset) -> nn.Sequential:
    """Four entries, for a hundred runs."""
    channels = dataset.input_shape[0]
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Conv2d(6, 6, 3), nn.ReLU(inplace=True)),
        nn.Sequential(nn.Flatten(), nn.Linear(6, dataset.outputs)),
    )


@pytest.mark.full
@OPTIMIZERS
@pytest.mark.parametrize(("stages", "replicas"), GRID)
def test_distributed_equals_the_oracle(pool: Pool, stages: int, replicas: int, optimizer: dict[str, Any]) -> None:
    """Every parameter and statistic, after 20 updates and a flush among them."""
    lags = LAGS if stages > 1 else LAGS[:1]
    runs = [configured(stages, replicas, staleness=c, weights=weights, optimizer=optimizer) for c, weights in lags]
    for run, (ran, expected) in zip(runs, both(pool, runs, small_network), strict=True):
        assert ran.epochs[-1]["step"] == expected.epochs[-1]["step"] == 20
        assert_same(ran.state, expected.state, f"staleness={run.staleness} weights={run.weights}")
        assert ran.metrics["loss/train"] == pytest.approx(expected.metrics["loss/train"], rel=1e-12)
        assert ran.metrics["loss/test"] == pytest.approx(expected.metrics["loss/test"], rel=1e-12)
        assert ran.metrics["accuracy/test"] == expected.metrics["accuracy/test"]


@pytest.mark.parametrize("weights", ["stashed", *in_full("latest", "recomputed")])
def test_a_stretch_may_be_shorter_than_the_pipeline(pool: Pool, weights: str) -> None:
    """Ten batches and then two, with up to six in flight or more staleness than there are seconds; and a run of one."""
    lags = [(3, 12), (10**9, 12), (3, 1)]
    runs = [configured(3, 2, staleness=c, weights=weights, max_steps=steps) for c, steps in lags]
    for run, (ran, expected) in zip(runs, both(pool, runs, small_network), strict=True):
        assert ran.epochs[-1]["step"] == run.max_steps
        assert_same(ran.state, expected.state, f"staleness={run.staleness} max_steps={run.max_steps}")


def test_three_replicas_equal_the_oracle_but_for_the_order_of_sums(pool: Pool) -> None:
    run = configured(2, 3, staleness=2)
    ((ran, expected),) = both(pool, [run])
    assert ran.epochs[-1]["step"] >= 20
    assert_close(ran.state, expected.state)


@pytest.mark.parametrize("staleness", [*in_full(1), 2])
@pytest.mark.parametrize(
    ("precision", "channels_last"),
    [("float32", True), ("bfloat16", False), *in_full(("float32", False), ("bfloat16", True))],
)
def test_every_precision_and_layout_equals_the_oracle(
    pool: Pool, precision: str, channels_last: bool, staleness: int
) -> None:
    modes = ["stashed", "recomputed", *(["latest"] if precision == "float32" else [])]
    numbers = {"precision": precision, "channels_last": channels_last, "staleness": staleness}
    runs = [configured(2, 2, weights=weights, **numbers) for weights in modes]
    for run, (ran, expected) in zip(runs, both(pool, runs), strict=True):
        assert_same(ran.state, expected.state, f"weights={run.weights}")


def test_a_stage_may_hand_a_shortcut_on_as_it_came(pool: Pool) -> None:
    """The middle one of three holds one norm, beside which the shortcut passes: what it sends is what it was sent."""
    runs = [
        configured(3, 1, partition=[6, 7], staleness=c, weights=weights, precision=precision, max_steps=12)
        for c, weights in LAGS
        for precision in ("float64", "bfloat16")
        if (weights, precision) != ("latest", "bfloat16")
    ]
    for run, (ran, expected) in zip(runs, both(pool, runs), strict=True):
        assert_same(ran.state, expected.state, f"staleness={run.staleness} weights={run.weights} {run.precision}")


def test_the_modes_and_delays_differ(pool: Pool) -> None:
    """They differ, or else the equalities above would say nothing of them."""
    runs = [configured(3, 1, staleness=c, weights=weights) for c, weights in LAGS]
    answers = distributed(pool, runs)
    for (run, one), (other_run, other) in itertools.combinations(zip(runs, answers, strict=True), 2):
        names = [name for name in one.state if not statistics(name) and name.startswith("0.") and one.state[name].ndim]
        assert names
        for name in names:
            distance = float(np.abs(one.state[name] - other.state[name]).max())
            assert distance > 1e-6, (
                f"{name} of {run.staleness, run.weights} and {other_run.staleness, other_run.weights}"
            )


def test_without_delay_the_modes_are_one(pool: Pool) -> None:
    """At staleness 0 a backward follows its forward before any update."""
    stashed, *others = distributed(
        pool, [configured(2, 1, weights=weights) for weights in ("stashed", "latest", "recomputed")]
    )
    for other in others:
        assert_same(other.state, stashed.state)


def test_a_stale_stage_takes_a_lesser_rate_in_both(pool: Pool) -> None:
    """It changes the stages that are stale alone: at staleness 0 not a bit."""
    run = configured(3, 2, staleness=2)
    scaled = replace(run, lr=replace(run.lr, staleness_power=1.0))
    fresh = replace(run, staleness=0)
    answers = both(pool, [scaled, replace(scaled, staleness=0), fresh, run], small_network)
    for ran, expected in answers:
        assert_same(ran.state, expected.state)
    assert_same(answers[1][0].state, answers[2][0].state)
    assert np.abs(answers[0][0].state["0.0.weight"] - answers[3][0].state["0.0.weight"]).max() > 1e-6


# -------------------------------------------------------------------------------------------------------------- dropout
def dropout_network(_: Model, dataset: Dataset) -> nn.Sequential:
    """Three entries with dropout in each but the last."""
    size = math.prod(dataset.input_shape)
    return nn.Sequential(
        nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.Dropout(0.5)),
        nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.25)),
        nn.Linear(8, dataset.outputs),
    )


def test_masks_are_drawn_again_for_a_recomputation(pool: Pool) -> None:
    """With dropout too the engines agree to the bit, in every mode and at staleness 0 between the modes."""
    runs = [
        configured(3, 1, staleness=c, weights=weights, partition=[1, 2])
        for c, weights in itertools.product((0, 2), ("stashed", "latest", "recomputed"))
    ]
    answers = both(pool, runs, dropout_network)
    for run, (ran, expected) in zip(runs, answers, strict=True):
        assert_same(ran.state, expected.state, f"staleness={run.staleness} weights={run.weights}")
    for ran, _ in answers[1:3]:
        assert_same(ran.state, answers[0][0].state)


# -------------------------------------------------------------------------------------------------------- plain PyTorch
def plain_batches(run: RunConfig, replica: int = 0) -> Batches:
    return tiny.batches_of(
        tiny.dataset_of(run),
        seed=run.seed,
        batch_size=run.batch_size,
        replica=replica,
        replicas=run.replicas,
        dtype=torch.float64,
    )


def plain_network(run: RunConfig) -> nn.Sequential:
    torch.manual_seed(run.seed)
    return tiny.network_of(run.model, (3, 8, 8), 3).double()


def plain_optimizer(run: RunConfig, parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    if run.optimizer.name == "sgd":
        return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.01)
    return torch.optim.AdamW(parameters, lr=0.05, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.02)


def train_plainly(run: RunConfig, network: nn.Module, batches: Batches) -> None:
    """The loop that everybody writes, with three updates of warm-up."""
    optimizer = plain_optimizer(run, network.parameters())
    for step in range(20):
        optimizer.param_groups[0]["lr"] = min((step + 1) / 3, 1) * 0.05
        logits: Tensor = network(batches.inputs(step // 10, step % 10))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(logits, batches.targets(step // 10, step % 10))
        torch.autograd.backward(loss)
        optimizer.step()


def arrays(network: nn.Module) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


@OPTIMIZERS
def test_staleness_0_equals_ordinary_back_propagation(pool: Pool, optimizer: dict[str, Any]) -> None:
    """It is that of the unsplit network by torch's optimizer, for K = 1, 2, 3 and both engines; K=1 is plain SGD."""
    network = plain_network(configured(1, 1))
    train_plainly(configured(1, 1, optimizer=optimizer), network, plain_batches(configured(1, 1)))
    for stages in (1, 2, 3):
        run = configured(stages, 1, optimizer=optimizer)
        assert_same(distributed(pool, [run])[0].state, arrays(network), f"distributed, stages={stages}")
        assert_same(oracle(run).state, arrays(network), f"oracle, stages={stages}")


def test_a_test_loss_is_that_of_the_trained_network() -> None:
    """Evaluation too: mean loss and accuracy over all test images, padding left out."""
    run = configured(2, 1, staleness=0)
    network = plain_network(run)
    train_plainly(run, network, plain_batches(run))
    judged = plain_batches(run).judged["test"]
    images, labels = judged.inputs(0)[: judged.valid(0)], judged.targets(0)[: judged.valid(0)]
    with torch.no_grad():
        logits = network.eval()(images)
    metrics = oracle(run).metrics
    assert metrics["loss/test"] == pytest.approx(float(nn.functional.cross_entropy(logits, labels)), rel=1e-12)
    assert metrics["accuracy/test"] == float((logits.argmax(1) == labels).double().mean())


def data_parallel(store: Store, run: RunConfig) -> dict[str, NDArray[Any]]:
    """torch's own data parallelism, as one rank of it."""
    with joined(run, store) as world:
        network = plain_network(run)
        parallel = nn.parallel.DistributedDataParallel(network)
        train_plainly(run, parallel, plain_batches(run, world.replica))
        return arrays(network)


@OPTIMIZERS
def test_one_stage_equals_torchs_data_parallelism(pool: Pool, optimizer: dict[str, Any]) -> None:
    """Statistics apart: DDP hands out rank 0's, here they are averaged at a flush."""
    run = configured(1, 2, optimizer=optimizer)
    expected = pool.run(data_parallel, 2, run)
    for replica in expected:
        assert_same(distributed(pool, [run])[0].state, replica, without_statistics=True)
