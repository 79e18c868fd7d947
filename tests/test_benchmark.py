"""The benchmark's arithmetic, on figures worked by hand."""

from __future__ import annotations

import csv
import math
import threading
from pathlib import Path

import pytest

from bench.engine.alone import cuts_of, stage_alone
from bench.engine.minimal import minimal_loop
from bench.study.benchmark import BEST, RATIOS, asked_of, report
from bench.study.compose import compose
from bench.study.contenders import CONTENDERS, PREDICTED, WORKLOAD, Measurement, Prediction
from bench.study.interval import ratio

MACHINE = {"cpu": "a CPU", "cores": 2, "torch": "2.14.1"}


def test_ratio_of_a_textbook_sample() -> None:
    """Logarithms 1, 2, 3: mean 2, standard deviation 1, and t(0.975, 2) = 4.302653 (Student's table)."""
    interval = ratio([math.exp(1), 2 * math.exp(2), 3 * math.exp(3)], [1, 2, 3])
    half = 4.302653 / math.sqrt(3)
    assert interval.mean == pytest.approx(math.exp(2))
    assert math.log(interval.low) == pytest.approx(2 - half, rel=1e-6)
    assert math.log(interval.high) == pytest.approx(2 + half, rel=1e-6)
    assert interval.n == 3


def test_equal_ratios_have_no_width_whatever_the_drift() -> None:
    interval = ratio([2.0, 20.0, 200.0], [1.0, 10.0, 100.0])
    assert interval[:3] == pytest.approx((2.0, 2.0, 2.0))


def test_one_pair_has_no_interval() -> None:
    interval = ratio([3.0], [2.0])
    assert (interval.mean, interval.n) == (1.5, 1)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


@pytest.mark.parametrize("name", CONTENDERS)
def test_contenders_do_the_same_work(name: str) -> None:
    config = compose([*WORKLOAD, *CONTENDERS[name]])
    reference = compose([*WORKLOAD, *CONTENDERS["one core"]])
    assert (config.model, config.data) == (reference.model, reference.data)
    assert config.batch_size * config.replicas == reference.batch_size * (4 if name == "four replicas" else 1)
    assert {name for pair in RATIOS for name in pair} | set(PREDICTED) <= set(CONTENDERS)


def test_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine slows down by half after round 0: the ratios do not see it."""
    monkeypatch.chdir(tmp_path)
    speeds = dict.fromkeys(CONTENDERS, 100.0) | {"FDG": 195.0, "locked": 97.5, "gpipe, 8 microbatches": 130.0}
    busy = dict.fromkeys(CONTENDERS, 0.002) | {"FDG, K=4": 0.0021, "four replicas": 0.0022}
    measurements = [
        Measurement(round_number, name, speed / (1 + round_number), 0.98, 0.02, 3.0, 0.001, busy[name])
        for round_number in (0, 1)
        for name, speed in speeds.items()
    ]
    predictions = [
        Prediction(round_number, name, 1.05 * speeds[name] / (1 + round_number), 0.49)
        for round_number in (1, 0)
        for name in PREDICTED
    ]
    report(measurements, predictions, compose([]), MACHINE)
    with Path("results/benchmark.csv").open() as file:
        rows = {row["figure"]: row for row in csv.DictReader(file)}
    assert rows["FDG / one core"] == {
        "figure": "FDG / one core",
        "mean": "1.95",
        "low": "1.95",
        "high": "1.95",
        "n": "2",
        "asked": "1.95",
        "at_most": "",
        "cpu": "a CPU",
        "cores": "2",
        "torch": "2.14.1",
    }
    assert float(rows["FDG / locked"]["mean"]) == 2.0
    assert (rows["FDG / gpipe, 8 microbatches"]["mean"], rows["FDG / gpipe, 8 microbatches"]["asked"]) == (
        "1.5",
        "1.35",
    )
    assert float(rows["FDG again / FDG"]["mean"]) == pytest.approx(100 / 195, abs=1e-4)
    assert float(rows["FDG, K=4 / one core: processor time"]["mean"]) == 1.05
    assert float(rows["four replicas / one core: processor time"]["mean"]) == 1.1
    assert float(rows["FDG: efficiency"]["mean"]) == 0.98
    assert float(rows["FDG: following the run / training time"]["mean"]) == 0.001
    for name in PREDICTED:
        row = rows[f"{name}: predicted / measured"]
        assert (row["mean"], row["n"], row["asked"], row["at_most"]) == ("1.05", "2", "0.9", "1.1")
    assert rows["FDG: predicted / measured efficiency"]["mean"] == "0.5"


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], [1.95, 1.9, 1.0, 1.35, 0.97, None]),
        (["precision=bfloat16"], [1.9, 1.85, 1.0, 1.3, 0.97, None]),
        (["precision=float64"], [None] * 6),
        (["model=vgg"], [None] * 6),
    ],
)
def test_what_is_asked_depends_on_network_and_precision(words: list[str], asked: list[float | None]) -> None:
    figures = ["FDG / one core", "FDG / locked", "FDG / DDP", f"FDG / {BEST}", "FDG: efficiency", "FDG again / FDG"]
    assert [asked_of(compose(words), figure) for figure in figures] == asked


def test_a_minimal_loop_trains() -> None:
    small = ["data.train_size=64", "data.test_size=8", "data.shape=[3,8,8]", "model.depth=8", "model.width=4"]
    for precision in ("float32", "bfloat16"):
        config = compose([*WORKLOAD, *small, "stages=1", "max_steps=2", "batch_size=4", f"precision={precision}"])
        assert minimal_loop(config) > 0


def test_a_costly_mirror_fails_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    figures = (100.0, 0.98, 0.02, 3.0, 0.006, 0.002)
    measurements = [Measurement(number, name, *figures) for number in (0, 1) for name in CONTENDERS]
    predictions = [Prediction(number, name, 100.0, 0.98) for number in (0, 1) for name in PREDICTED]
    with pytest.raises(AssertionError, match=r"^to follow a run took 0\.60% of its training time"):
        report(measurements, predictions, compose([]), MACHINE)


def test_stages_that_compute_alone_are_as_fast_as_the_slowest() -> None:
    """Of a network whose second stage has almost all of the work, that stage's speed is the ceiling."""
    small = ["data.train_size=64", "data.test_size=8", "data.shape=[3,8,8]", "model.depth=8", "model.width=4"]
    config = compose([*WORKLOAD, *small, "partition=counted", "batch_size=16"])
    cuts = cuts_of(config)
    assert len(cuts) == 1
    speeds = [stage_alone(config, [1], stage, threading.Barrier(1), steps=20) for stage in range(2)]
    assert 0 < speeds[1] < speeds[0]
