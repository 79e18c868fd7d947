"""What pairs allow to be said: against scipy's own tests, by hand, and in simulations of what is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.plan.inference import Paired, detectable, holm, paired, word_of
from bench.plan.interval import Interval


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_a_pair_is_compared_as_scipy_does(n: int) -> None:
    random = np.random.default_rng(n)
    values, others = random.normal(0.2, 0.02, n), random.normal(0.1, 0.01, n)
    expected = stats.ttest_rel(values, others)
    found = paired(values.tolist(), others.tolist(), 10**6)
    interval = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.difference[1:3] == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.deviation == pytest.approx((values - others).std(ddof=1), rel=1e-9)


@given(st.integers(2, 8), st.integers(1, 400), st.data())
def test_a_difference_is_told_by_whole_images_and_within_bounds(n: int, images: int, data: st.DataObject) -> None:
    shares = st.lists(st.integers(0, images), min_size=n, max_size=n)
    values, others = ([count / images for count in data.draw(shares)] for _ in range(2))
    centre, low, high, size = paired(values, others, images).difference
    assert size == n
    assert -1 <= low <= max(-1, centre - 1 / images) + 1e-12
    assert 1 >= high >= min(1, centre + 1 / images) - 1e-12


def test_pairs_that_agree_have_told_no_more_than_an_image() -> None:
    """By hand: 12.7062 and 4.30265 are Student's quantiles of 2 and 3 pairs. All pairs off by one image, whatever their
    number, are as likely as 1 in 20 at the least; ten images are told from none."""
    interval, p, deviation = paired([0.5, 0.7], [0.5, 0.7], 100)
    assert [*interval, p] == pytest.approx([0, -0.01, 0.01, 2, 1])
    assert deviation == pytest.approx(0.01 * math.sqrt(2) / 12.7062, rel=1e-5)
    assert paired([0.31, 0.51, 0.71], [0.3, 0.5, 0.7], 100).p == pytest.approx(0.05)
    interval, p, deviation = paired([0.4, 0.6, 0.8], [0.3, 0.5, 0.7], 100)
    assert interval == pytest.approx([0.1, 0.09, 0.11, 3])
    assert deviation == pytest.approx(0.01 * math.sqrt(3) / 4.30265, rel=1e-5)
    assert p == pytest.approx(2 * stats.t.sf(43.0265, 2), rel=1e-4)


def test_a_single_pair_says_nothing() -> None:
    single = paired([1.0], [0.0], 100)
    assert math.isnan(single.p)
    assert word_of(single, differs=False, margin=10) == "undecided"


@pytest.mark.parametrize(
    ("probabilities", "marked"),
    [
        ([0.01, 0.04, 0.03], [True, False, False]),
        ([0.01, 0.02, 0.03], [True, True, True]),
        ([0.04, math.nan], [True, False]),
        ([0.026, 0.9], [False, False]),
        ([], []),
    ],
)
def test_holms_steps_by_hand(probabilities: list[float], marked: list[bool]) -> None:
    """Three are held against 0.05/3, 0.05/2 and 0.05 in turn, up to the first that is above."""
    assert holm(probabilities) == marked


IMAGES = 10**6
"""So many that an image's share is nothing."""


def simulated(tables: int, rows: int, n: int, effect: float) -> float:
    """The share of tables with a mark: rows of n seeds against one baseline, which all are the same but for the effect
    of the first row."""
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(tables):
        seeds = random.normal(0, 0.01, n)
        baseline = (seeds + random.normal(0, 0.004, n)).tolist()
        own = [seeds + random.normal(0, 0.004, n) + (effect if row == 0 else 0) for row in range(rows)]
        hits += any(holm([paired(row.tolist(), baseline, IMAGES).p for row in own]))
    return hits / tables


def test_a_table_of_the_same_method_has_a_mark_in_one_of_twenty_at_most() -> None:
    """Rows share their baseline and so are no independent tests: Holm's bound holds whatever they share."""
    share = simulated(tables=1500, rows=6, n=5, effect=0.0)
    # Three standard errors of a share of 5% over so many tables.
    assert 0.005 < share < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1500)


@pytest.mark.parametrize("images", [20, 360, 10_000])
def test_an_interval_of_a_difference_holds_it(images: int) -> None:
    """In 95% of rounds; in more of them where images are so few that an interval is no wider than one."""
    random, rounds, held = np.random.default_rng(0), 2000, 0
    for _ in range(rounds):
        able = 0.9 + random.normal(0, 0.01, 5) + np.array([[0.0], [-0.03]])
        baseline, own = (random.binomial(images, able) / images).tolist()
        found = paired(own, baseline, images).difference
        held += found.low <= -0.03 <= found.high
    assert held / rounds > 0.95 - 3 * math.sqrt(0.05 * 0.95 / rounds)


def test_a_difference_is_found_as_often_as_is_said() -> None:
    """The difference of two normal values of deviation 0.004 spreads by 0.004 times the root of 2."""
    effect = detectable(0.004 * math.sqrt(2), 5)
    assert simulated(tables=1500, rows=1, n=5, effect=effect) == pytest.approx(0.8, abs=0.035)


def test_the_detectable_difference_is_cohens() -> None:
    """Cohen 1988: 34 pairs show half a deviation with a power of 80% (33.4 pairs in exact computation)."""
    assert detectable(1.0, 34) == pytest.approx(0.4951, abs=1e-3)
    assert math.isnan(detectable(math.nan, 1))


@pytest.mark.parametrize(
    ("mean", "deviation", "differs", "word"),
    [
        (1.0, 0.1, True, "better"),
        (-1.0, 0.1, True, "worse"),
        # Half widths of one-sided 95% bounds are 2.132 * s / sqrt(5), here 0.095 and 0.48.
        (-0.3, 0.1, False, "no worse"),
        (-0.45, 0.1, False, "undecided"),
        (0.45, 0.1, False, "undecided"),
        (0.0, 0.5, False, "no worse"),
        (0.0, 0.6, False, "undecided"),
    ],
)
def test_words_by_hand(mean: float, deviation: float, differs: bool, word: str) -> None:
    found = Paired(Interval(mean, math.nan, math.nan, 5), math.nan, deviation)
    assert word_of(found, differs, margin=0.5) == word


def test_no_worse_is_said_of_what_is_worse_by_the_margin_in_one_of_twenty_at_most() -> None:
    random = np.random.default_rng(1)
    words = [
        word_of(paired((random.normal(0, 0.003, 5) - 0.005).tolist(), [0.0] * 5, IMAGES), differs=False, margin=0.005)
        for _ in range(2000)
    ]
    assert words.count("no worse") / 2000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
    assert "no worse" in words
