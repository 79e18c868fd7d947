"""Cuts against brute force over all cuts, and by hand."""

from __future__ import annotations

import math
import re
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.plan.partition import bounds, cut


def stage_costs(costs: list[float], cuts: list[int]) -> list[float]:
    return [sum(costs[first:end]) for first, end in pairwise([0, *cuts, len(costs)])]


def brute_force(costs: list[float], stages: int) -> list[int]:
    """The best of all cuts: slowest stage, then sum of squares, then lexicographic order, the last one."""

    def merit(cuts: list[int]) -> tuple[float, float, list[int]]:
        sums = stage_costs(costs, cuts)
        return max(sums), sum(cost * cost for cost in sums), [-position for position in cuts]

    return min((list(cuts) for cuts in combinations(range(1, len(costs)), stages - 1)), key=merit)


@st.composite
def problems(draw: st.DrawFn, cost: st.SearchStrategy[float]) -> tuple[list[float], int]:
    costs = draw(st.lists(cost, min_size=1, max_size=9))
    return costs, draw(st.integers(1, len(costs)))


@given(problems(st.integers(0, 6)))
def test_whole_costs_are_cut_as_by_brute_force(problem: tuple[list[float], int]) -> None:
    assert cut(*problem) == brute_force(*problem)


@given(problems(st.floats(0, 1e6)))
def test_the_slowest_stage_is_as_fast_as_can_be(problem: tuple[list[float], int]) -> None:
    costs, stages = problem
    slowest = max(stage_costs(costs, cut(costs, stages)))
    assert slowest == pytest.approx(max(stage_costs(costs, brute_force(costs, stages))), rel=1e-12)


@given(problems(st.floats(0, 1e6)))
def test_cuts_have_bounds(problem: tuple[list[float], int]) -> None:
    costs, stages = problem
    ranges = bounds(cut(costs, stages), len(costs))
    assert len(ranges) == stages
    assert all(first < end for first, end in ranges)
    assert [layer for first, end in ranges for layer in range(first, end)] == list(range(len(costs)))


@pytest.mark.parametrize(
    ("costs", "stages", "expected"),
    [
        ([5], 1, []),
        ([1, 2, 3], 1, []),
        ([1, 2, 3], 3, [1, 2]),
        ([1, 2, 3, 4], 2, [3]),
        ([4, 3, 2, 1], 2, [1]),
        ([9, 1, 1, 1, 1, 1, 1, 1, 1, 1], 2, [1]),
        ([2, 3, 4, 5, 6], 3, [3, 4]),
        ([1e7, 1, 1, 1, 1], 3, [1, 3]),
        ([0.25, 0.125, 0.125, 0.5], 2, [3]),
    ],
)
def test_cuts_by_hand(costs: list[float], stages: int, expected: list[int]) -> None:
    assert cut(costs, stages) == expected


@pytest.mark.parametrize(
    ("costs", "stages", "expected"),
    [
        ([1, 1, 1, 1, 10], 3, [2, 4]),
        ([10, 1, 1, 1, 1], 3, [1, 3]),
        ([1, 1, 1], 2, [2]),
        ([3, 0, 0, 3], 2, [3]),
        ([0, 0, 0, 0], 3, [2, 3]),
    ],
)
def test_ties_go_to_the_most_even_and_then_the_last_cut(costs: list[float], stages: int, expected: list[int]) -> None:
    assert cut(costs, stages) == expected


def test_a_deep_network_is_cut_evenly() -> None:
    assert cut([1.0] * 120, 8) == list(range(15, 120, 15))


@pytest.mark.parametrize(
    ("costs", "stages", "message"),
    [
        ([1, 2], 3, "stages=3 must lie in 1..2: the network has 2 layers"),
        ([1, 2], 0, "stages=0 must lie in 1..2: the network has 2 layers"),
        ([1, -2], 1, "cost=-2 of layer 1 must be finite and at least 0"),
        ([math.nan, 2], 1, "cost=nan of layer 0 must be finite and at least 0"),
        ([1, 2, math.inf], 2, "cost=inf of layer 2 must be finite and at least 0"),
    ],
)
def test_what_cannot_be_cut_is_refused(costs: list[float], stages: int, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        cut(costs, stages)


@pytest.mark.parametrize(
    ("cuts", "layers", "expected"),
    [([], 4, [(0, 4)]), ([1, 3], 4, [(0, 1), (1, 3), (3, 4)]), ([1, 2], 3, [(0, 1), (1, 2), (2, 3)])],
)
def test_bounds(cuts: list[int], layers: int, expected: list[tuple[int, int]]) -> None:
    assert bounds(cuts, layers) == expected


@pytest.mark.parametrize(
    ("cuts", "layers", "message"),
    [
        ([0, 2], 4, "partition=[0, 2] must lie in 1..3: the network has 4 layers"),
        ([2, 4], 4, "partition=[2, 4] must lie in 1..3: the network has 4 layers"),
        ([-1], 4, "partition=[-1] must lie in 1..3: the network has 4 layers"),
        ([3, 1], 4, "partition=[3, 1] must increase"),
        ([2, 2], 4, "partition=[2, 2] must increase"),
        ([1, 2, 3], 3, "partition=[1, 2, 3] makes 4 stages; a network of 3 layers has 1..3"),
    ],
)
def test_wrong_cuts_are_refused(cuts: list[int], layers: int, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        bounds(cuts, layers)
