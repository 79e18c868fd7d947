"""Cases of a grid: for the suite as few as have every pair of values, and for ``make test-all`` every one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, islice, product
from typing import Any

from allpairspy import AllPairs

Case = dict[str, Any]
Choices = Mapping[str, Sequence[Any]]
"""The values that each key may have."""
Allowed = Callable[[Case], bool]
"""Is asked about beginnings of cases too, in the order of the keys: those are to pass that lack a key."""


def every_case(choices: Choices, allowed: Allowed = lambda _: True) -> list[Case]:
    """The full product of the values, less what is not allowed."""
    cases = (dict(zip(choices, values, strict=True)) for values in product(*choices.values()))
    return [case for case in cases if allowed(case)]


def covering(choices: Choices, allowed: Allowed = lambda _: True) -> list[Case]:
    """Cases in which any two values of different keys meet at least once, if they may meet at all.

    The same ones each time. allpairspy's greedy search may give up where not everything is allowed, so the pairs that
    it has left out are looked for one by one.
    """
    cases = list(_searched(choices, allowed))
    for one, other in combinations(choices, 2):
        met = [(case[one], case[other]) for case in cases]
        for pair in product(choices[one], choices[other]):
            if pair not in met:
                narrowed = {**choices, one: [pair[0]], other: [pair[1]]}
                cases += islice(_searched(narrowed, allowed), 1)
    return cases


def _searched(choices: Choices, allowed: Allowed) -> Iterator[Case]:
    def fits(values: Sequence[Any]) -> bool:
        return allowed(dict(zip(choices, values, strict=False)))

    for values in AllPairs(list(choices.values()), filter_func=fits):
        yield dict(zip(choices, values, strict=True))
