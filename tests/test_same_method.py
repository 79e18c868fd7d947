"""Whole tables of accuracies of methods that are one: how many of them are said to differ."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.study.report.quality_table import quality_table
from bench.study.report.result import Run, read_run
from tests.designs import in_full
from tests.records import DATA, MARGIN, record_of
from tests.tiny import config

ROWS, SEEDS, TABLES = 6, 5, 300


def _found(images: int) -> list[Run]:
    keys = [{"stages": 2, "staleness": staleness, "seed": seed} for staleness in range(ROWS) for seed in range(SEEDS)]
    return [read_run(record_of(config(**each), data={**DATA, "classes": 10, "test_images": images})) for each in keys]


def said(images: int, loss: float = 0.0) -> list[set[str]]:
    """What is said in each table of six ways to train over five seeds: all of them one, but for the last, which is
    worse.

    The seeds differ, and each run by a little more; each is asked as many images.
    """
    random, found, words = np.random.default_rng(images), _found(images), []
    for _ in range(TABLES):
        seeds = 0.9 + random.normal(0, 0.01, SEEDS)
        able = seeds + random.normal(0, 0.004, (ROWS, SEEDS))
        able[-1] -= loss
        shares = (random.binomial(images, able) / images).ravel().tolist()
        for run, share in zip(found, shares, strict=True):
            run.metrics["accuracy/test"] = share
        words.append(set(quality_table(found, MARGIN)["said"]))
    return words


@pytest.mark.parametrize("images", [20, *in_full(360, 10_000)])
def test_the_same_method_against_itself_is_marked_in_one_table_of_twenty_at_most(images: int) -> None:
    """Down to so few images that rows agree. Three standard errors of a share of 5% over so many tables are 3.8%."""
    marked = sum(not words.isdisjoint({"better", "worse"}) for words in said(images)) / TABLES
    assert marked < 0.05 + 3 * math.sqrt(0.05 * 0.95 / TABLES)


def test_a_method_that_is_worse_is_marked_in_most_tables() -> None:
    """A test that marks nothing would pass the one above."""
    assert sum("worse" in words for words in said(10_000, loss=0.02)) / TABLES > 0.8
