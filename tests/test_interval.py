"""Intervals of means, shares and medians: against scipy's, by hand, and in simulations of what is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from bench.plan.interval import mean
from bench.plan.median import median_of
from bench.plan.share import mean_share, sampling, wilson

samples = st.lists(st.floats(-10, 10).map(lambda value: round(value, 3)), min_size=2, max_size=8)


@given(samples)
def test_an_interval_of_a_mean_is_scipys(values: list[float]) -> None:
    if len(set(values)) > 1:
        centre, low, high, n = mean(values)
        error = stats.sem(values)
        assert (low, high) == pytest.approx(stats.t.interval(0.95, n - 1, loc=centre, scale=error), abs=1e-9)


# ---------------------------------------------------------------------------------------------------------- of a share
@given(st.integers(1, 500), st.data())
def test_the_interval_of_images_is_scipys(images: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, images))
    expected = stats.binomtest(right, images).proportion_ci(method="wilson")
    assert sampling(right / images, images) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(st.floats(0.01, 0.99), st.floats(1, 1e6), st.floats(1, 13))
def test_wilsons_ends_are_as_many_of_their_own_errors_from_the_share(share: float, trials: float, edge: float) -> None:
    for end in wilson(share, trials, edge):
        assert abs(share - end) == pytest.approx(edge * math.sqrt(end * (1 - end) / trials), rel=1e-6, abs=1e-9)


@given(st.integers(1, 400), st.integers(2, 8), st.data())
def test_a_mean_share_is_told_by_whole_images_and_within_bounds(images: int, n: int, data: st.DataObject) -> None:
    values = [data.draw(st.integers(0, images)) / images for _ in range(n)]
    centre, low, high, size = mean_share(values, images)
    assert size == n
    assert 0 <= low <= max(0, centre - 1 / images) + 1e-12
    assert 1 >= high >= min(1, centre + 1 / images) - 1e-12


def test_shares_by_hand() -> None:
    """Equal ones have told one image; far from 0 and 1 it is Student's interval; a single one has none."""
    assert mean_share([0.9, 0.9, 0.9], 100) == pytest.approx([0.9, 0.89, 0.91, 3])
    assert mean_share([1.0, 1.0], 360) == (1.0, 1 - 1 / 360, 1.0, 2)
    assert mean_share([0.0, 0.0], 360) == (0.0, 0.0, 1 / 360, 2)
    values = [0.4996, 0.5001, 0.5003]
    assert mean_share(values, 10**6) == pytest.approx(mean(values), rel=1e-5)
    assert all(math.isnan(end) for end in mean_share([0.9], 100)[1:3])
    # Student's would end at 1.002: four of five runs that tell all of 360 images, and one that misses two.
    centre, low, high, _ = mean_share([1.0, 1.0, 1.0, 1.0, 358 / 360], 360)
    assert 0.989 < low < centre < high <= 1


def covered(expected: float, spread: float, images: int, n: int, rounds: int = 3000) -> float:
    """How often the interval of n runs holds their expectation: each has an accuracy of its own, whose logit is normal,
    and is asked as many images."""
    random = np.random.default_rng(0)
    logits = special.logit(expected) + spread * random.normal(size=(rounds, n))
    truth = float(special.expit(special.logit(expected) + spread * np.random.default_rng(1).normal(size=10**6)).mean())
    counts = random.binomial(images, special.expit(logits)) / images
    intervals = [mean_share(row.tolist(), images) for row in counts]
    return sum(interval.low <= truth <= interval.high for interval in intervals) / rounds


@pytest.mark.parametrize(
    ("expected", "spread", "images", "n"),
    [
        (0.5, 0.05, 360, 5),
        (0.82, 0.05, 10_000, 5),
        (0.97, 0.3, 360, 5),
        (0.98, 0.3, 360, 3),
        (0.99, 0.1, 360, 5),
        (0.995, 0.3, 10_000, 5),
    ],
)
def test_the_interval_of_a_mean_share_holds_the_expectation(
    expected: float, spread: float, images: int, n: int
) -> None:
    """In 95% of rounds, or a little less where the spread is skewed; two standard errors of a share are 0.8%."""
    assert 0.93 < covered(expected, spread, images, n) < 0.985


# --------------------------------------------------------------------------------------------------------- of a median
def test_medians_by_hand() -> None:
    assert median_of([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0, 3, 0.75)
    assert median_of([5.0, 1.0, 2.0, 4.0, 3.0]) == (3.0, 1.0, 5.0, 5, 0.9375)
    assert median_of([1.0, 2.0, math.inf, 3.0]) == (2.5, 1.0, math.inf, 4, 0.875)
    assert median_of([1.0, math.inf, math.inf]) == (math.inf, 1.0, math.inf, 3, 0.75)
    single = median_of([7.0])
    assert (single.median, single.n) == (7.0, 1)
    assert all(map(math.isnan, (single.low, single.high, single.coverage)))


@pytest.mark.parametrize("n", [6, 9, 17, 30, 101])
def test_an_interval_of_a_median_is_the_narrowest_of_95_percent(n: int) -> None:
    """Against scipy's binomial: of 9, from the second to the eighth."""
    found = median_of([float(value) for value in range(1, n + 1)])
    rank = int(found.low)
    assert found.high == n + 1 - rank
    assert found.coverage == pytest.approx(1 - 2 * stats.binom.cdf(rank - 1, n, 0.5), abs=1e-12)
    assert found.coverage >= 0.95 > 1 - 2 * stats.binom.cdf(rank, n, 0.5)


DRAWS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "skewed": lambda random, n: random.exponential(1.0, n),
    "a third never": lambda random, n: np.where(random.random(n) < 1 / 3, np.inf, random.exponential(1.0, n)),
    "whole epochs": lambda random, n: np.ceil(random.exponential(3.0, n)),
}
MEDIANS = {"skewed": math.log(2), "a third never": -math.log(1 - 0.75), "whole epochs": math.ceil(3 * math.log(2))}


@pytest.mark.parametrize("n", [5, 12])
@pytest.mark.parametrize("kind", DRAWS)
def test_an_interval_of_a_median_holds_it_as_often_as_it_says(kind: str, n: int) -> None:
    """It does exactly where values are continuous, and at least as often where they are whole epochs."""
    random, rounds = np.random.default_rng(0), 4000
    found = [median_of(DRAWS[kind](random, n).tolist()) for _ in range(rounds)]
    share = sum(one.low <= MEDIANS[kind] <= one.high for one in found) / rounds
    error = math.sqrt(0.05 * 0.95 / rounds)
    assert share > found[0].coverage - 3 * error
    if kind != "whole epochs":
        assert share < found[0].coverage + 3 * error
