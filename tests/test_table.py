"""The comparison of runs as a table."""

from __future__ import annotations

from typing import Any

import pytest

from bench.study.table import FOOTNOTE, summary


def _record(stages: int, replicas: int, staleness: int, speed: float, **changes: Any) -> dict[str, Any]:
    config = {"stages": stages, "replicas": replicas, "staleness": staleness, "method": "decoupled"}
    config |= {"weights": "stashed", "seed": 0, "batch_size": 64, "microbatches": 1, "averaging": {"name": "allreduce"}}
    config |= {"model": {"name": "resnet", "depth": 20}, "partition": "measured", "lr": {"name": "cosine"}}
    metrics = {"throughput/images_per_second": speed, "throughput/efficiency": 0.97, "accuracy/test": 0.9125}
    metrics |= {"locking/forward_fraction": 0.012, "locking/backward_fraction": 0.0, "locking/update_fraction": 0.1}
    record = {"status": "done", "config": config, "metrics": metrics, "environment": {"oversubscribed": False}}
    return {**record, **{key: value for key, value in changes.items() if key in record}} | {
        "config": config | {key: value for key, value in changes.items() if key in config}
    }


def _cells(table: str) -> list[dict[str, str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_a_row_says_what_staleness_bought() -> None:
    (_, row) = _cells(summary([_record(2, 1, 2, 540.0), _record(1, 1, 0, 280.0)]))
    assert row == {
        "K": "2",
        "S": "1",
        "staleness": "2",
        "method": "decoupled",
        "img/s": "540",
        "speed-up": "1.93",
        "efficiency": "0.97",
        "forward lock %": "1.2",
        "backward lock %": "0.0",
        "update lock %": "10.0",
        "test accuracy %": "91.2",
        "status": "done",
    }


def test_rows_are_in_order_of_stages_replicas_and_staleness() -> None:
    points = [(2, 2, 1), (1, 1, 0), (2, 1, 2), (2, 1, 0), (10, 1, 0)]
    rows = _cells(summary([_record(*point, 100.0) for point in points]))
    assert [(int(row["K"]), int(row["S"]), int(row["staleness"])) for row in rows] == sorted(points)


def test_without_a_baseline_there_is_no_speed_up() -> None:
    (row,) = _cells(summary([_record(2, 1, 2, 540.0)]))
    assert (row["img/s"], row["speed-up"]) == ("540", "-")


def test_halves_of_a_batch_are_compared_with_the_whole_of_it() -> None:
    rows = _cells(summary([_record(1, 1, 0, 280.0), _record(1, 2, 0, 560.0, batch_size=32, method="ddp")]))
    assert [(row["batch_size"], row["speed-up"]) for row in rows] == [("64", "1.00"), ("32", "2.00")]


def test_a_baseline_is_the_mean_over_seeds_of_the_same_model_only() -> None:
    wide = {"name": "resnet", "depth": 110}
    records = [_record(1, 1, 0, 200.0), _record(1, 1, 0, 300.0, seed=1), _record(2, 1, 2, 500.0)]
    rows = _cells(summary([*records, _record(2, 1, 2, 90.0, model=wide)]))
    assert [row["speed-up"] for row in rows] == ["0.80", "1.20", "2.00", "-"]
    assert [row["seed"] for row in rows] == ["0", "1", "0", "0"]
    assert [row["model.depth"] for row in rows] == ["20", "20", "20", "110"]


def test_weights_have_a_column_only_where_they_vary() -> None:
    stashed, latest, plain = _record(2, 1, 2, 500.0), _record(2, 1, 2, 510.0, weights="latest"), _record(1, 1, 0, 1.0)
    assert "weights" not in _cells(summary([stashed, plain]))[0]
    rows = _cells(summary([stashed, latest, plain]))
    assert [row["weights"] for row in rows] == ["-", "stashed", "latest"]


def test_microbatches_are_told_of_those_that_have_them() -> None:
    stale, plain = _record(2, 1, 2, 500.0, microbatches=1), _record(1, 1, 0, 1.0, microbatches=1)
    piped = [_record(2, 1, 0, 400.0, method="gpipe", microbatches=count) for count in (2, 4)]
    assert "microbatches" not in _cells(summary([stale, plain, piped[0]]))[0]
    assert [row["microbatches"] for row in _cells(summary([stale, plain, *piped]))] == ["-", "2", "4", "-"]


def test_a_setting_that_means_nothing_to_a_run_makes_no_column() -> None:
    ring = {"name": "gossip", "graph": "ring"}
    rows = _cells(summary([_record(1, 1, 0, 280.0), _record(1, 2, 0, 500.0, averaging=ring)]))
    assert not {"averaging.name", "averaging.graph"} & set(rows[0])


def test_more_agents_than_cores_are_marked() -> None:
    crowded = _record(4, 1, 2, 300.0, environment={"oversubscribed": True})
    table = summary([_record(1, 1, 0, 280.0), crowded])
    (plain, marked) = _cells(table)
    assert (plain["img/s"], marked["img/s"], marked["speed-up"]) == ("280", "300*", "1.07*")
    assert table.endswith(FOOTNOTE)
    assert FOOTNOTE not in summary([_record(1, 1, 0, 280.0)])


def test_a_diverged_or_failed_run_has_dashes_for_what_it_lacks() -> None:
    diverged = _record(2, 1, 2, 500.0, status="diverged")
    diverged["metrics"]["accuracy/test"] = None
    failed = {"status": "failed", "config": _record(2, 1, 3, 0.0)["config"]}
    (first, second) = _cells(summary([diverged, failed]))
    assert (first["test accuracy %"], first["img/s"], first["status"]) == ("-", "500", "diverged")
    assert (second["test accuracy %"], second["img/s"], second["status"]) == ("-", "-", "failed")


@pytest.mark.parametrize("count", [1, 3])
def test_columns_are_aligned(count: int) -> None:
    table = summary([_record(stages, 1, 2, 10.0**stages) for stages in range(1, count + 1)])
    assert len({tuple(at for at, letter in enumerate(line) if letter == "|") for line in table.splitlines()}) == 1


def test_no_records_make_no_table() -> None:
    assert summary([]) == "no runs"
