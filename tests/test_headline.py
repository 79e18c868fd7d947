"""What a sweep's parent in MLflow says of its points."""

from __future__ import annotations

import pytest

from bench.study.report.result import read_run
from bench.study.tracking.headline import headline
from tests.records import record_of
from tests.tiny import config


def test_the_best_and_the_mean_of_the_points_are_told() -> None:
    numbers = [(100, 0.5), (300, 0.6), (200, 0.9)]
    runs = [
        read_run(record_of(config(seed=seed), speed, [0.1, accuracy])) for seed, (speed, accuracy) in enumerate(numbers)
    ]
    assert headline(runs) == pytest.approx(
        {
            "accuracy/test_best": 0.9,
            "accuracy/test_mean": 2 / 3,
            "throughput/units_per_second_best": 300,
            "throughput/units_per_second_mean": 200,
        }
    )


def test_what_says_nothing_is_left_out() -> None:
    """A diverged point has no accuracy; throughput on shared cores, or of the oracle, none that can be compared."""
    diverged = read_run(record_of(config(), 100, [0.9, None]))
    crowded = read_run(record_of(config(), 900, [0.5], {"oversubscribed": True}))
    beside = read_run(record_of(config(), 700, [0.6], {"colocated": True}))
    oracle = read_run(record_of(config(engine="reference"), 800, [0.7]))
    assert headline([diverged, crowded, beside, oracle]) == pytest.approx(
        {
            "accuracy/test_best": 0.7,
            "accuracy/test_mean": 0.6,
            "throughput/units_per_second_best": 100,
            "throughput/units_per_second_mean": 100,
        }
    )
    assert headline([crowded]) == pytest.approx({"accuracy/test_best": 0.5, "accuracy/test_mean": 0.5})
    assert headline([]) == {}
