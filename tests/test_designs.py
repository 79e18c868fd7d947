"""The design that stands for a grid: every pair is in it that the grid has, and it is much smaller."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from tests.designs import Case, covering, every_case

CHOICES: dict[str, list[Any]] = {
    "stages": [1, 2, 3],
    "replicas": [1, 2],
    "staleness": [0, 1, 2, 3],
    "weights": ["stashed", "latest", "recomputed"],
    "precision": ["float64", "float32", "bfloat16"],
    "channels_last": [False, True],
}


def possible(case: Case) -> bool:
    return (case.get("weights"), case.get("precision")) != ("latest", "bfloat16")


def pairs(cases: list[Case]) -> set[Any]:
    return {pair for case in cases for pair in combinations(case.items(), 2)}


def test_every_pair_is_covered() -> None:
    cases = covering(CHOICES)
    assert pairs(cases) == pairs(every_case(CHOICES))
    assert all(list(case) == list(CHOICES) for case in cases)
    assert len(cases) < len(every_case(CHOICES)) / 20


def test_what_is_not_allowed_is_in_no_case() -> None:
    cases = covering(CHOICES, possible)
    assert all(possible(case) for case in cases)
    assert pairs(cases) == pairs(every_case(CHOICES, possible))
    assert (("weights", "latest"), ("precision", "bfloat16")) not in pairs(cases)


def test_a_design_is_the_same_each_time() -> None:
    assert covering(CHOICES, possible) == covering(CHOICES, possible)
