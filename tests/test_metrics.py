"""The table of metrics: what each is of a run, and that a row shows wherever it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bench.plan.sections import KINDS, LOCKS
from bench.record.metrics import METRICS, Ended, Metric, shown_in, taken
from bench.record.schema import check_record
from bench.study.report.overview import runs_table
from bench.study.report.result import read_run
from bench.study.report.terminal import shown, summary
from bench.study.report.throughput import throughput_table
from bench.study.tracking.headline import headline
from tests.records import record_of
from tests.tiny import config


def agent(staleness: dict[str, int], peak: int, **seconds: float) -> dict[str, Any]:
    numbers = {**dict.fromkeys(KINDS, 0.0), **seconds}
    return {"wall_seconds": 10.0, "seconds": numbers, "staleness": staleness, "peak_memory_bytes": peak}


def test_metrics_are_taken_of_what_a_run_leaves() -> None:
    tested = {"accuracy/test": 0.5, "loss/test": 1.0}
    first = {"accuracy/test": 0.1, "loss/test": 3.0, "loss/train": 4.0, "time/train_seconds": 4.0}
    last = {"accuracy/test": 0.5, "loss/test": 1.0, "loss/train": 2.0, "time/train_seconds": 8.0}
    epochs = [{**epoch, "consensus/distance": 0.25} for epoch in (first, last)]
    agents = [
        agent({"2": 7, "10": 1}, 300, forward=2.0, backward=3.0, update=1.0, forward_lock=1.0, sending=3.0),
        agent({"0": 8}, 500, forward=4.0, backward_lock=2.0, update_lock=4.0),
    ]
    run = Ended("images", 400, epochs, tested, agents, None)
    expected = {
        "accuracy/test": 0.5,
        "loss/test": 1.0,
        "loss/train": 2.0,
        "throughput/units_per_second": 50.0,
        "throughput/efficiency": 6 / 8,
        "locking/total_fraction": 0.05 + 0.1 + 0.2,
        "locking/forward_fraction": 0.05,
        "locking/backward_fraction": 0.1,
        "locking/update_fraction": 0.2,
        "staleness/max_updates": 10.0,
        "memory/peak_bytes": 500.0,
        "time/train_seconds": 8.0,
        "consensus/distance": 0.25,
        "throughput/images_per_second": 50.0,
    }
    assert taken(run) == pytest.approx(expected)
    assert [*taken(run)] == [*expected]
    mixed = taken(Ended("images", 400, epochs, tested, agents, np.full((2, 2), 0.5)))
    assert mixed == pytest.approx({**expected, "consensus/spectral_gap": 1.0})


def test_a_name_says_its_unit_and_is_there_once() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    ends = ("fraction", "updates", "bytes", "seconds", "units_per_second")
    for metric in METRICS:
        end = metric.unit.replace("/s", "_per_second")
        assert (end in ends and metric.name.endswith(end)) or not metric.name.endswith(ends)


@pytest.fixture
def row() -> Iterator[Metric]:
    headings = dict.fromkeys(("summary", "throughput"), "idle %")
    metric = Metric("time/idle", lambda run: run.locked("other"), "fraction", 2, "down", headings, True, headline=True)
    METRICS.append(metric)
    yield metric
    METRICS.remove(metric)


def test_a_row_is_all_that_a_new_metric_needs(row: Metric) -> None:
    epochs = [{metric.name: 1.0 for metric in METRICS}]
    assert taken(Ended("images", 1, epochs, {}, [agent({"0": 1}, 1, other=2.5)], None))[row.name] == 0.25
    records = [record_of(config(seed=seed)) for seed in (0, 1)]
    for record, number in zip(records, (0.25, 0.75), strict=True):
        record["metrics"][row.name] = number
        check_record(record)
    runs = [read_run(record) for record in records]
    table = [[cell.strip() for cell in line.split("|")] for line in summary(runs).splitlines() if "|" in line]
    assert [line[table[0].index("idle %")] for line in table[2:]] == ["25.00", "75.00"]
    assert runs_table(runs)[row.name].tolist() == [0.25, 0.75]
    frame = throughput_table(runs)
    assert frame["idle %"].tolist() == [50.0]
    assert "idle %" in shown("throughput", frame)
    assert headline(runs)["time/idle_best"] == 0.25
    assert headline(runs)["time/idle_mean"] == 0.5


def test_a_record_of_before_a_metric_is_read(row: Metric) -> None:
    record = record_of(config())
    check_record(record)
    assert read_run(record).number(row.name) is None
    assert summary([read_run(record)]).splitlines()[2].count(" - |") == 2


def test_a_total_stands_behind_its_parts() -> None:
    names = [metric.name for metric in shown_in("throughput")]
    parts = [f"locking/{lock}_fraction" for lock in LOCKS]
    first = names.index(parts[0])
    assert names[first : first + len(parts) + 1] == [*parts, "locking/total_fraction"]
