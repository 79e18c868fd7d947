"""The comparison of runs as a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.study.report.result import ON_TEST, Run, read_run
from bench.study.report.terminal import COMPANY, FOOTNOTE, summary
from bench.study.report.throughput import throughput_table
from tests.records import record_of
from tests.tiny import config

ON_OTHER_CORES = {"oversubscribed": True}
LAYERS = {"name": "mlp", "hidden": 8, "layers": 12}


def _run(
    stages: int,
    replicas: int,
    staleness: int,
    speed: float,
    accuracy: float | None = 0.9125,
    environment: dict[str, Any] | None = None,
    **keys: Any,
) -> Run:
    grid = {"stages": stages, "replicas": replicas, "staleness": staleness}
    return read_run(record_of(config(**{"model": LAYERS, **grid, **keys}), speed, [accuracy], environment))


def _cells(table: str) -> list[dict[str, str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_a_row_says_what_staleness_bought() -> None:
    (_, row) = _cells(summary([_run(2, 1, 2, 540.0), _run(1, 1, 0, 280.0)]))
    assert row == {
        "K": "2",
        "S": "1",
        "staleness": "2",
        "method": "decoupled",
        "img/s": "540",
        "speed-up": "1.93",
        "efficiency": "0.75",
        "forward lock %": "25.0",
        "backward lock %": "0.0",
        "update lock %": "0.0",
        "test accuracy %": "91.2",
        "status": "done",
    }


def test_rows_are_in_order_of_stages_replicas_and_staleness() -> None:
    points = [(2, 2, 1), (1, 1, 0), (2, 1, 2), (2, 1, 0), (10, 1, 0)]
    rows = _cells(summary([_run(*point, 100.0) for point in points]))
    assert [(int(row["K"]), int(row["S"]), int(row["staleness"])) for row in rows] == sorted(points)


def test_without_a_baseline_there_is_no_speed_up() -> None:
    (row,) = _cells(summary([_run(2, 1, 2, 540.0)]))
    assert (row["img/s"], row["speed-up"]) == ("540", "-")


def test_halves_of_a_batch_are_compared_with_the_whole_of_it() -> None:
    rows = _cells(summary([_run(1, 1, 0, 280.0, batch_size=8), _run(1, 2, 0, 560.0, batch_size=4, method="ddp")]))
    assert [(row["batch_size"], row["speed-up"]) for row in rows] == [("8", "-"), ("4", "2.00")]


def test_a_speed_up_is_over_the_run_of_the_same_seed_and_model() -> None:
    """The machine was 1.5 times as fast in the second round: the mean of both would make 2.0 and 3.0 of it."""
    runs = [_run(1, 1, 0, 200.0), _run(1, 1, 0, 300.0, seed=1), _run(2, 1, 2, 500.0), _run(2, 1, 2, 750.0, seed=1)]
    runs.append(_run(2, 1, 2, 90.0, model={**LAYERS, "layers": 20}))
    rows = _cells(summary([*runs, _run(4, 1, 2, 999.0, seed=2)]))
    assert [row["speed-up"] for row in rows] == ["-", "-", "2.50", "2.50", "-", "-"]
    assert [row["seed"] for row in rows] == ["0", "1", "0", "1", "0", "2"]
    assert [row["model.layers"] for row in rows] == ["12", "12", "12", "12", "20", "12"]


def test_ddp_is_nobodys_baseline() -> None:
    """At K=S=1 it is a run as any other; it came into the mean that others were divided by."""
    runs = [_run(1, 1, 0, 200.0), _run(1, 1, 0, 100.0, method="ddp"), _run(2, 1, 2, 400.0)]
    speedups = {(row["K"], row["method"]): row["speed-up"] for row in _cells(summary(runs))}
    assert speedups == {("1", "decoupled"): "-", ("1", "ddp"): "0.50", ("2", "decoupled"): "2.00"}
    (row,) = (row for row in _cells(summary(runs[1:])) if row["K"] == "2")
    assert row["speed-up"] == "-"


def test_a_sweep_and_a_report_tell_the_same_speed_ups() -> None:
    """The grid has repeats, whose speeds drift: a report's mean is the geometric one of a sweep's rows."""
    points = [(k, s, c, m) for k, s in ((1, 1), (2, 1), (1, 2)) for c in (0, 2) for m in ("decoupled", "ddp")]
    points = [(k, s, c, m) for k, s, c, m in points if (k == 1 and c == 0) or (k > 1 and m == "decoupled")]
    runs = [
        _run(k, s, c, (100.0 + 7 * k + 31 * s + 13 * c + 3 * len(m)) * (1 + seed**2), seed=seed, method=m)
        for seed in range(3)
        for k, s, c, m in points
    ]
    rows = _cells(summary(runs))
    for told in throughput_table(runs).to_dict("records"):
        own = [row for row in rows if all(str(told[key]) == row[key] for key in ("K", "S", "staleness", "method"))]
        assert len(own) == told["n"] == 3
        if told["over_single_n"]:
            assert [row["speed-up"] for row in own] == [f"{told['over_single']:.2f}"] * 3
        else:
            assert {row["speed-up"] for row in own} == {"-"}
            assert (told["K"], told["S"], told["method"]) == (1, 1, "decoupled")


def test_weights_have_a_column_only_where_they_vary() -> None:
    stashed, latest, plain = _run(2, 1, 2, 500.0), _run(2, 1, 2, 510.0, weights="latest"), _run(1, 1, 0, 1.0)
    assert "weights" not in _cells(summary([stashed, plain]))[0]
    rows = _cells(summary([stashed, latest, plain]))
    assert [row["weights"] for row in rows] == ["-", "stashed", "latest"]


def test_microbatches_are_told_of_those_that_have_them() -> None:
    stale, plain = _run(2, 1, 2, 500.0), _run(1, 1, 0, 1.0)
    piped = [_run(2, 1, 0, 400.0, method="gpipe", microbatches=count) for count in (2, 4)]
    assert "microbatches" not in _cells(summary([stale, plain, piped[0]]))[0]
    assert [row["microbatches"] for row in _cells(summary([stale, plain, *piped]))] == ["-", "2", "4", "-"]


def test_a_setting_that_means_nothing_to_a_run_makes_no_column() -> None:
    ring = {"name": "gossip", "graph": "ring"}
    rows = _cells(summary([_run(1, 1, 0, 280.0), _run(1, 2, 0, 500.0, averaging=ring)]))
    assert not {"averaging.name", "averaging.graph", "partition"} & set(rows[0])


def test_more_agents_than_cores_are_marked_and_not_compared() -> None:
    plain = _run(1, 1, 0, 280.0)
    table = summary([plain, _run(4, 1, 2, 300.0, environment=ON_OTHER_CORES)])
    (first, marked) = _cells(table)
    assert (first["img/s"], marked["img/s"], marked["speed-up"]) == ("280", "300*", "-")
    assert FOOTNOTE in table
    assert FOOTNOTE not in summary([plain])


def test_a_speed_that_was_measured_with_company_is_marked_and_compared_with_none() -> None:
    """Neither with one that was measured alone, nor with one that had company itself."""
    beside = {"colocated": True}
    runs = [_run(1, 1, 0, 200.0, environment=beside), _run(2, 1, 2, 300.0), _run(2, 1, 2, 310.0, environment=beside)]
    table = summary(runs)
    assert [(row["img/s"], row["speed-up"]) for row in _cells(table)] == [("200+", "-"), ("300", "-"), ("310+", "-")]
    assert COMPANY in table
    assert COMPANY not in summary(runs[1:2])
    (ruled,) = [line for line in table.splitlines() if line.startswith("|-")]
    assert ruled.split("|")[5].endswith("-:"), "marked numbers are numbers, and stand to the right"


def test_a_diverged_run_has_a_dash_for_its_accuracy_and_is_counted() -> None:
    table = summary([_run(2, 1, 2, 500.0, accuracy=None), _run(2, 1, 1, 400.0)])
    (done, diverged) = _cells(table)
    assert (diverged["test accuracy %"], diverged["img/s"], diverged["status"]) == ("-", "500", "diverged")
    assert done["status"] == "done"
    assert "\n\n1 of 2 runs diverged: without a quality, and in no mean of qualities" in table
    assert "diverged" not in summary([_run(2, 1, 1, 400.0)])


@pytest.mark.parametrize("count", [1, 3])
def test_columns_are_aligned(count: int) -> None:
    table = summary([_run(stages, 1, 2, 10.0**stages) for stages in range(1, count + 1)])
    lines = table.partition("\n\n")[0].splitlines()
    assert len({tuple(at for at, letter in enumerate(line) if letter == "|") for line in lines}) == 1


def test_runs_without_images_for_validation_are_told() -> None:
    """Two of three; where all have such images, nothing is said."""
    plain, held_out = _run(2, 1, 2, 500.0), _run(2, 1, 1, 400.0)
    held_out = replace(held_out, curves="validation")
    assert plain.curves == "test"
    assert summary([plain, held_out, plain]).endswith(f"\n\n2 of 3 runs {ON_TEST}")
    assert ON_TEST not in summary([held_out])


def test_no_records_make_no_table() -> None:
    assert summary([]) == "no runs"
