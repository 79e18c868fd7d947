"""Ranks and their neighbours, and the matrices that gossip mixes weights by."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.plan.grid import Grid
from bench.rule.averaging.contract import spectral_gap
from bench.rule.averaging.gossip import Graph, mixing_matrix, neighbours

GRAPHS: tuple[Graph, ...] = get_args(Graph)

graphs = st.sampled_from(GRAPHS)
grids = st.builds(Grid, st.integers(1, 9), st.integers(1, 9))


def test_two_replicas_of_three_stages() -> None:
    grid = Grid(stages=3, replicas=2)
    assert grid.size == 6
    assert [[grid.rank(replica, stage) for stage in range(3)] for replica in range(2)] == [[0, 1, 2], [3, 4, 5]]
    assert [grid.stage(rank) for rank in range(6)] == [0, 1, 2, 0, 1, 2]
    assert [grid.replica(rank) for rank in range(6)] == [0, 0, 0, 1, 1, 1]
    assert [grid.previous(rank) for rank in range(6)] == [None, 0, 1, None, 3, 4]
    assert [grid.next(rank) for rank in range(6)] == [1, 2, None, 4, 5, None]
    assert [grid.peers(stage) for stage in range(3)] == [[0, 3], [1, 4], [2, 5]]


def test_a_single_agent_has_no_neighbours() -> None:
    grid = Grid(stages=1, replicas=1)
    assert (grid.size, grid.previous(0), grid.next(0), grid.peers(0)) == (1, None, None, [0])


@given(grids)
def test_every_rank_is_one_agent(grid: Grid) -> None:
    ranks = range(grid.size)
    assert [grid.rank(grid.replica(rank), grid.stage(rank)) for rank in ranks] == list(ranks)
    assert sorted(rank for stage in range(grid.stages) for rank in grid.peers(stage)) == list(ranks)
    for rank in ranks:
        if (following := grid.next(rank)) is not None:
            assert grid.previous(following) == rank
            assert grid.replica(following) == grid.replica(rank)
            assert grid.stage(following) == grid.stage(rank) + 1


@pytest.mark.parametrize(
    ("stages", "replicas", "message"),
    [(0, 1, "stages=0 must be at least 1"), (2, -3, "replicas=-3 must be at least 1")],
)
def test_an_empty_grid_is_refused(stages: int, replicas: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid(stages, replicas)


@pytest.mark.parametrize(
    ("graph", "replicas", "replica", "expected"),
    [
        ("ring", 1, 0, []),
        ("ring", 2, 0, [1]),
        ("ring", 3, 1, [0, 2]),
        ("ring", 8, 0, [1, 7]),
        ("exponential", 1, 0, []),
        ("exponential", 2, 1, [0]),
        ("exponential", 6, 0, [1, 2, 4, 5]),
        ("exponential", 8, 0, [1, 2, 4, 6, 7]),
        ("exponential", 16, 5, [1, 3, 4, 6, 7, 9, 13]),
        ("complete", 1, 0, []),
        ("complete", 4, 2, [0, 1, 3]),
    ],
)
def test_neighbours(graph: Graph, replicas: int, replica: int, expected: list[int]) -> None:
    assert neighbours(graph, replicas, replica) == expected


@given(graphs, st.integers(1, 40))
def test_neighbours_know_each_other(graph: Graph, replicas: int) -> None:
    around = [neighbours(graph, replicas, replica) for replica in range(replicas)]
    for replica, others in enumerate(around):
        assert replica not in others
        assert all(replica in around[other] for other in others)


@pytest.mark.parametrize("graph", GRAPHS)
def test_small_matrices(graph: Graph) -> None:
    assert mixing_matrix(graph, 1).tolist() == [[1.0]]
    assert mixing_matrix(graph, 2).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert mixing_matrix(graph, 3).tolist() == [[1 / 3] * 3] * 3


def test_the_ring_of_five() -> None:
    expected = np.array([[1, 1, 0, 0, 1], [1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [1, 0, 0, 1, 1]]) / 3
    np.testing.assert_allclose(mixing_matrix("ring", 5), expected, atol=1e-15)


def test_the_exponential_graph_of_eight() -> None:
    row = np.array([1, 1, 1, 0, 1, 0, 1, 1]) / 6
    expected = np.stack([np.roll(row, replica) for replica in range(8)])
    np.testing.assert_allclose(mixing_matrix("exponential", 8), expected, atol=1e-15)


def test_the_complete_graph_averages() -> None:
    assert mixing_matrix("complete", 4).tolist() == [[0.25] * 4] * 4


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("replicas", range(1, 34))
def test_matrices_are_symmetric_and_doubly_stochastic(graph: Graph, replicas: int) -> None:
    matrix = mixing_matrix(graph, replicas)
    assert matrix.shape == (replicas, replicas)
    assert matrix.dtype == np.float64
    assert (matrix >= 0).all()
    assert (matrix == matrix.T).all()
    np.testing.assert_allclose(matrix.sum(axis=0), 1, atol=1e-12)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    for replica in range(replicas):
        assert np.flatnonzero(matrix[replica]).tolist() == sorted([replica, *neighbours(graph, replicas, replica)])


@given(graphs, st.integers(1, 24), st.integers(0, 2**32 - 1))
def test_gossip_keeps_the_mean_and_shrinks_the_distance_by_the_gap(graph: Graph, replicas: int, seed: int) -> None:
    matrix = mixing_matrix(graph, replicas)
    weights = np.random.default_rng(seed).normal(size=replicas)
    mixed = matrix @ weights
    assert mixed.mean() == pytest.approx(weights.mean(), abs=1e-12)
    before, after = (np.linalg.norm(values - values.mean()) for values in (weights, mixed))
    assert after <= (1 - spectral_gap(matrix)) * before + 1e-12


@pytest.mark.parametrize("replicas", range(1, 34))
def test_gaps(replicas: int) -> None:
    gap = {graph: spectral_gap(mixing_matrix(graph, replicas)) for graph in GRAPHS}
    assert gap["complete"] == pytest.approx(1, abs=1e-12)
    assert 0 < gap["ring"] <= gap["exponential"] + 1e-12 <= gap["complete"] + 1e-11


@pytest.mark.parametrize("replicas", range(3, 34))
def test_the_gap_of_a_ring(replicas: int) -> None:
    """A ring's eigenvalues are (1 + 2 cos(2 pi j / S)) / 3, least at -1/3: the second one decides from S=3 on."""
    matrix = mixing_matrix("ring", replicas)
    expected = 2 / 3 * (1 - math.cos(2 * math.pi / replicas))
    assert spectral_gap(matrix) == pytest.approx(expected, abs=1e-12)
    assert np.linalg.eigvalsh(matrix)[0] >= -1 / 3 - 1e-12


@pytest.mark.parametrize(
    ("matrix", "gap"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], 0),
        ([[0.0, 1.0], [1.0, 0.0]], 0),
        ([[0.25, 0.75], [0.75, 0.25]], 0.5),
        ([[0.0, 0.5, 0.0, 0.5], [0.5, 0.0, 0.5, 0.0], [0.0, 0.5, 0.0, 0.5], [0.5, 0.0, 0.5, 0.0]], 0),
    ],
)
def test_the_gap_minds_both_ends_of_the_spectrum(matrix: list[list[float]], gap: float) -> None:
    assert spectral_gap(np.array(matrix)) == pytest.approx(gap, abs=1e-12)
