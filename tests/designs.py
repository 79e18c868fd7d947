"""Cases of a grid: for the suite as few as have every pair of values, and for ``make test-all`` every one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations, product
from random import Random
from typing import Any

import pytest

Case = dict[str, Any]
Choices = Mapping[str, Sequence[Any]]
"""The values that each key may have."""
Allowed = Callable[[Case], bool]
"""Is asked about beginnings of cases too, in the order of the keys: those are to pass that lack a key."""
Places = tuple[int, ...]
"""A case, or its beginning, by the place of each key's value among its values."""


def in_full(*cases: Any) -> list[Any]:
    """Leave a parametrized test's cases, each a tuple or one value, to ``make test-all``."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.full) for case in cases]


def every_case(choices: Choices, allowed: Allowed = lambda _: True) -> list[Case]:
    """The full product of the values, less what is not allowed."""
    cases = (dict(zip(choices, values, strict=True)) for values in product(*choices.values()))
    return [case for case in cases if allowed(case)]


def drawn(cases: Iterable[Case], others: Choices, allowed: Allowed = lambda _: True) -> Iterator[Case]:
    """Each case with values of other keys drawn for it, of those that are allowed with it; the same ones each time."""
    random, options = Random(0), every_case(others)
    for case in cases:
        shuffled = ({**case, **other} for other in random.sample(options, len(options)))
        yield next(whole for whole in shuffled if allowed(whole))


def covering(choices: Choices, allowed: Allowed = lambda _: True) -> list[Case]:
    """Cases in which any two values of different keys meet at least once, if they may meet at all.

    The same ones each time. As AETG does (Cohen et al. 1997): a case is begun with a pair that no case has yet, and
    each key then takes the value that makes most such pairs with what is there; of equals the first. Where that leads
    to nothing that is allowed, it goes back. (allpairspy does not go back: with these rules it leaves pairs out, and
    with each of them sought by itself the cases were twice as many.)
    """
    values = [*choices.values()]
    singles = [(key, place) for key, options in enumerate(values) for place in range(len(options))]
    unmet = {pair: None for pair in combinations(singles, 2) if pair[0][0] != pair[1][0]}

    def case_of(places: Places) -> Case:
        return {key: options[place] for (key, options), place in zip(choices.items(), places, strict=False)}

    @cache
    def fits(places: Places) -> bool:
        return allowed(case_of(places))

    def completed(places: Places, wanted: dict[int, int]) -> Places | None:
        """Find what the beginning of a case can go on to, with the wanted keys' places."""
        key = len(places)
        if key == len(values):
            return places
        others = [*enumerate(places), *((other, place) for other, place in wanted.items() if other > key)]

        def met(place: int) -> int:
            return sum(tuple(sorted((other, (key, place)))) in unmet for other in others)

        options = [wanted[key]] if key in wanted else sorted(range(len(values[key])), key=met, reverse=True)
        ends = (completed((*places, place), wanted) for place in options if fits((*places, place)))
        return next((end for end in ends if end is not None), None)

    cases = []
    for pair in [*unmet]:
        case = completed((), dict(pair)) if pair in unmet else None
        if case is not None:
            cases.append(case_of(case))
            for met in combinations(enumerate(case), 2):
                unmet.pop(met, None)
    return cases
