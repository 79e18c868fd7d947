"""Gossip: what mixing does to replicas, that the engines agree about it, and where it is gradient averaging."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.distributed import Store

from bench import config
from bench.engine.meter import Meter
from bench.engine.method import copies
from bench.engine.method.decoupled import Stage
from bench.engine.method.reference import Reference
from bench.engine.numerics import Numerics
from bench.engine.train import train
from bench.engine.weights.averaging import WeightMixing
from bench.engine.weights.clipping import clipping
from bench.engine.weights.versions import Weights
from bench.rule.averaging.contract import spectral_gap
from bench.rule.averaging.gossip import Graph, mixing_matrix
from tests import tiny
from tests.both import Ran, assert_close, assert_same, both, oracle, shared_out, statistics
from tests.designs import in_full
from tests.pool import Pool, joined
from tests.test_equality import configured, small_network

PLAIN = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, "nesterov": False}
GRAPHS: tuple[Graph, ...] = ("ring", "exponential", "complete")
CPU = torch.device("cpu")
ROUNDS = 40


def gossiping(stages: int, replicas: int, graph: Graph, **changes: Any) -> config.RunConfig:
    values = {"averaging": {"name": "gossip", "graph": graph}, "batch_size": 4, "data": data(replicas)}
    return configured(stages, replicas, **{**values, **changes})


def data(replicas: int) -> dict[str, Any]:
    """The data of ten updates an epoch."""
    return {
        "name": "synthetic",
        "shape": [3, 8, 8],
        "classes": 3,
        "train_size": 40 * replicas,
        "test_size": 6,
        "validation": 0.0,
    }


# --------------------------------------------------------------------------------------------------------------- mixing
class Point(nn.Module):
    """Three weights, other ones in each replica."""

    def __init__(self, replica: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(replica)
        self.weight = nn.Parameter(torch.randn(3, dtype=torch.float64, generator=generator))


def mixed_by_the_oracle(graph: Graph, replicas: int) -> NDArray[np.float64]:
    """Weights [round, replica, 3] of replicas that only mix."""
    points = [Point(replica) for replica in range(replicas)]
    run = gossiping(1, replicas, graph, engine="reference")
    numerics = Numerics.of(run, CPU)
    reference = Reference(run, numerics, [[point] for point in points], [], Meter(CPU))
    parts = [part for _, _, part in reference._all()]
    rounds = [[point.weight.detach().numpy().copy() for point in points]]
    for _ in range(ROUNDS):
        assert reference._mixing is not None
        copies.mix(parts, reference._mixing)
        rounds.append([point.weight.detach().numpy().copy() for point in points])
    return np.array(rounds)


def mix(store: Store, run: config.RunConfig) -> list[NDArray[np.float64]]:
    """One replica of the distributed engine that only mixes: its weights after each round."""
    with joined(run, store) as world:
        weights = Weights(Point(world.replica), 1)
        matrix = run.averaging.mixing(run.replicas)
        assert matrix is not None
        row = matrix[world.replica].tolist()
        clip, optimizer = clipping(run.clip, world, weights, meter := Meter(CPU)), run.optimizer
        gossip = WeightMixing(world, row, weights, clip, optimizer.flat(weights.current, weights.layout), meter)
        rounds = [weights.current.numpy().copy()]
        for _ in range(ROUNDS):
            gossip.begin(0.5)
            gossip.finish()
            rounds.append(weights.current.numpy().copy())
        return rounds


def mixed_by_agents(pool: Pool, graph: Graph, replicas: int) -> NDArray[np.float64]:
    answers = pool.run(mix, replicas, gossiping(1, replicas, graph, optimizer=PLAIN))
    return np.array(answers).swapaxes(0, 1)


def check_mixing(rounds: NDArray[np.float64], graph: Graph, replicas: int) -> None:
    """Every round is a product with the matrix: it keeps the mean and contracts by the second eigenvalue."""
    matrix = mixing_matrix(graph, replicas)
    np.testing.assert_allclose(rounds[1:], matrix @ rounds[:-1], rtol=0, atol=1e-14)
    means = rounds.mean(1)
    np.testing.assert_allclose(means, np.broadcast_to(means[0], means.shape), rtol=0, atol=1e-12)
    distances = np.sqrt(np.square(rounds - means[:1]).sum((1, 2)))
    factor = 1 - spectral_gap(matrix)
    assert distances[0] > 1
    assert (distances[1:] <= factor * distances[:-1] + 1e-14).all()
    if factor > 1e-6:
        # The last rounds that rounding leaves alone.
        last = int(np.argmax(distances < 1e-8)) if distances[-1] < 1e-8 else ROUNDS
        assert distances[last] / distances[last - 1] == pytest.approx(factor, rel=1e-3)


@pytest.mark.parametrize("replicas", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("graph", GRAPHS)
def test_mixing_contracts_at_the_rate_of_the_spectral_gap(graph: Graph, replicas: int) -> None:
    check_mixing(mixed_by_the_oracle(graph, replicas), graph, replicas)


@pytest.mark.parametrize("replicas", [2, 5, *in_full(3, 6)])
@pytest.mark.parametrize("graph", GRAPHS)
def test_agents_mix_as_the_oracle_does(pool: Pool, graph: Graph, replicas: int) -> None:
    """They agree to the bit, for both sum by increasing replica."""
    rounds = mixed_by_agents(pool, graph, replicas)
    assert rounds.tobytes() == mixed_by_the_oracle(graph, replicas).tobytes()
    check_mixing(rounds, graph, replicas)


# ------------------------------------------------------------------------------------------------------------- training
def unsettled(store: Store, runs: list[config.RunConfig]) -> Any:
    """Both engines, with every replica's own weights in the end instead of their mean."""
    with patch("bench.engine.method.decoupled.Stage.settle"), patch("bench.engine.method.reference.Reference.settle"):
        return shared_out(store, runs, small_network)


def both_unsettled(pool: Pool, runs: list[config.RunConfig]) -> list[tuple[Ran, Ran]]:
    size = runs[0].agents
    answers = pool.run(unsettled, size, runs)
    return [(answers[0][0][number], answers[number % size][1][number // size]) for number in range(len(runs))]


@pytest.mark.parametrize(
    ("stages", "replicas", "staleness", "graph"),
    [
        (1, 5, 0, "ring"),
        (1, 6, 0, "exponential"),
        (2, 3, 1, "complete"),
        (2, 3, 2, "ring"),
        *in_full((1, 2, 0, "ring"), (1, 3, 0, "complete"), (2, 2, 2, "ring"), (3, 2, 2, "complete")),
    ],
)
def test_gossip_equals_the_oracle(pool: Pool, stages: int, replicas: int, staleness: int, graph: Graph) -> None:
    """Replica 0's own parameters to the bit. What a flush averages at once, by gloo's order of sums, to 1e-12."""
    ((ran, expected),) = both_unsettled(pool, [gossiping(stages, replicas, graph, staleness=staleness)])
    assert ran.epochs[-1]["step"] == 20
    assert_same(ran.state, expected.state, without_statistics=True)
    assert_close(ran.state, expected.state)
    for metric in ("loss/train", "loss/test"):
        assert ran.metrics[metric] == pytest.approx(expected.metrics[metric], rel=1e-12)


@pytest.mark.parametrize(("stages", "replicas"), [(2, 2), (2, 3), (1, 5)])
def test_settled_replicas_equal_the_oracles(pool: Pool, stages: int, replicas: int) -> None:
    """The mean that a run ends with: to the bit where it is of two."""
    ((ran, expected),) = both(pool, [gossiping(stages, replicas, "ring", staleness=2)], small_network)
    assert_close(ran.state, expected.state)
    if replicas == 2:
        assert_same(ran.state, expected.state)


def test_gossip_with_modes_and_momentum_of_adam_equals_the_oracle(pool: Pool) -> None:
    adamw = {"name": "adamw", "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.02}
    runs = [
        gossiping(2, 2, "ring", staleness=2, weights=weights, optimizer=adamw)
        for weights in ("stashed", "latest", "recomputed")
    ]
    answers = both(pool, runs, small_network)
    for run, (ran, expected) in zip(runs, answers, strict=True):
        assert_same(ran.state, expected.state, run.weights)
    assert len({ran.state["0.0.weight"].tobytes() for ran, _ in answers}) == 3


@pytest.mark.parametrize("replicas", [3, *in_full(4, 5)])
def test_on_the_complete_graph_plain_sgd_averages_gradients(pool: Pool, replicas: int) -> None:
    """The mean of equal weights minus each one's step is the weights minus the mean step."""
    gossip = gossiping(1, replicas, "complete", optimizer=PLAIN)
    allreduce = configured(1, replicas, batch_size=4, data=data(replicas), optimizer=PLAIN)
    (ran, expected), (averaged, _) = both(pool, [gossip, allreduce])
    for state in (ran.state, expected.state):
        assert_close(state, averaged.state)
    assert ran.epochs[-1]["consensus/distance"] < 1e-12


def test_momentum_makes_another_algorithm_of_it() -> None:
    """The equality above is not vacuous: with local momentum and decay, off the complete graph, it is another."""
    ring, complete = (oracle(gossiping(1, 5, graph)).state for graph in ("ring", "complete"))
    averaged = oracle(configured(1, 5, batch_size=4, data=data(5))).state
    for name in (name for name in averaged if not statistics(name) and averaged[name].ndim):
        assert np.abs(ring[name] - complete[name]).max() > 1e-6
        assert np.abs(ring[name] - averaged[name]).max() > 1e-6


def test_the_distance_from_consensus_is_measured(pool: Pool) -> None:
    ((ran, expected),) = both(pool, [gossiping(1, 5, "ring")], small_network)
    for epoch, expected_epoch in zip(ran.epochs, expected.epochs, strict=True):
        assert epoch["consensus/distance"] > 1e-3
        assert epoch["consensus/distance"] == pytest.approx(expected_epoch["consensus/distance"], rel=1e-9)
    for metrics in (ran.metrics, expected.metrics):
        assert metrics["consensus/spectral_gap"] == spectral_gap(mixing_matrix("ring", 5))
        assert metrics["consensus/distance"] == pytest.approx(ran.epochs[-1]["consensus/distance"], rel=1e-9)


def test_averaged_gradients_leave_no_distance() -> None:
    ran = oracle(configured(1, 3, epochs=1))
    assert [epoch["consensus/distance"] for epoch in ran.epochs] == [0]
    assert "consensus/spectral_gap" not in ran.metrics


def test_one_replica_has_nobody_to_gossip_with() -> None:
    ran, alone = oracle(gossiping(1, 1, "ring")), oracle(configured(1, 1, batch_size=4, data=data(1)))
    assert_same(ran.state, alone.state)
    assert "consensus/spectral_gap" not in ran.metrics


def settled(store: Store, run: config.RunConfig) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """A replica's weights before and after they are settled, and the distance that the run reports."""
    seen: list[NDArray[np.float64]] = []
    settle = Stage.settle

    def watched(stage: Stage) -> None:
        seen.append(stage.weights.current.numpy().copy())
        settle(stage)
        seen.append(stage.weights.current.numpy().copy())

    with joined(run, store) as world, patch.object(Stage, "settle", watched):
        outcome = train(run, tiny.dataset_of(run), world, lambda _: None)
    before, after = seen
    return before, after, outcome.metrics["consensus/distance"]


def test_a_run_ends_in_the_replicas_mean(pool: Pool) -> None:
    """What it leaves is what was evaluated; the distance is the root mean square of the replicas' from it."""
    answers = pool.run(settled, 5, gossiping(1, 5, "ring"))
    own = np.array([before for before, _, _ in answers])
    mean = own.mean(0)
    assert min(np.abs(one - mean).max() for one in own) > 1e-6
    for _, after, distance in answers:
        np.testing.assert_allclose(after, mean, rtol=1e-12, atol=1e-14)
        assert distance == pytest.approx(np.sqrt(np.square(own - mean).sum() / 5), rel=1e-9)
