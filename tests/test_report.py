"""From recorded runs to tables that were worked by hand, and to a page that tells what was left out."""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.__main__ import main
from bench.choice import found_beside
from bench.record.folder import RunFolder
from bench.record.runs_dir import read_records
from bench.study.report.group import groups_of, workloads_of
from bench.study.report.overview import runs_table
from bench.study.report.picture.contract import Picture
from bench.study.report.picture.pareto import pareto_front
from bench.study.report.pictures import draw_all
from bench.study.report.quality_table import quality_table
from bench.study.report.result import Run, read_run, varying
from bench.study.report.script import SCRIPT
from bench.study.report.throughput import throughput_table
from tests.records import MACHINE, MARGIN, keep_records, record_of
from tests.test_equality import SGD
from tests.test_optimizers import VALUES
from tests.tiny import config


def record(
    speed: float, accuracies: list[float | None], environment: dict[str, Any] | None = None, **keys: Any
) -> dict[str, Any]:
    """A record of a run of the point with these keys."""
    return record_of(config(**keys), speed, accuracies, environment)


FOUR = {"stages": 2, "replicas": 2, "staleness": 2}
RECORDS = [
    record(100.0, [0.80, 0.90], seed=0),
    record(110.0, [0.92, 0.94], seed=1),
    record(95.0, [0.80, 0.90], stages=2, seed=0),
    record(104.5, [0.92, 0.94], stages=2, seed=1),
    record(190.0, [0.80, 0.88], stages=2, staleness=2, seed=0),
    record(209.0, [0.85, 0.92], stages=2, staleness=2, seed=1),
    record(150.0, [0.85, None], {"oversubscribed": True}, **FOUR, seed=0),
]
NAME = {tuple(r["config"][key] for key in ("stages", "staleness", "seed")): r["config_hash"] for r in RECORDS[:6]}
"""The hash of each run with one replica, by stages, staleness and seed."""


def runs(*records: dict[str, Any]) -> list[Run]:
    return [read_run(item) for item in records or RECORDS]


def rows(table: Any) -> list[dict[str, Any]]:
    return list(table.to_dict("records"))


def near(value: Any) -> Any:
    """A number to compare literals of six digits with."""
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-5, nan_ok=True)
    return value


def literal(table: str) -> list[dict[str, Any]]:
    """A table in words; a dot stands for nothing."""
    head, *lines = [line.split() for line in table.strip().splitlines()]

    def cell(word: str) -> Any:
        if word == ".":
            return near(math.nan)
        try:
            return int(word) if word.lstrip("-").isdigit() else near(float(word))
        except ValueError:
            return {"True": True, "False": False}.get(word, word)

    return [dict(zip(head, map(cell, line), strict=True)) for line in lines]


def only(table: Any, columns: list[str]) -> list[dict[str, Any]]:
    return rows(table[columns])


ACCURACY = """
K S staleness method    n diverged accuracy accuracy_low accuracy_high difference difference_low difference_high
1 1 0         decoupled 2 0        0.92     0.453659     0.993763      .          .              .
2 1 0         decoupled 2 0        0.92     0.453659     0.993763      0.0        -0.001         0.001
2 1 2         decoupled 2 0        0.90     0.476910     0.988872      -0.02      -0.021         -0.019
2 2 2         decoupled 1 1        .        .            .             .          .              .
"""
"""The table by hand: t(0.975, 1) = 12.7062, standard error 0.02 in every group. So 0.92 has 0.0736 / 0.0004 = 184
trials, excess 12.7062^2 / 184 = 0.877431, centre (0.92 + 0.438716) / 1.877431 = 0.723711, and half width
12.7062 * sqrt((0.0736 + 0.219358) / 184) / 1.877431 = 0.270052. Pairs agree, and their interval is one image of 1,000.
"""
SAMPLING = """
K staleness test_images test_set_low test_set_high said     pairs
1 0         1000        0.901534     0.935252      .        0
2 0         1000        0.901534     0.935252      no_worse 2
2 2         1000        0.879848     0.917091      worse    2
2 2         1000        .            .             .        0
"""
"""Wilson's 95% interval of 920 and of 900 in 1,000."""

LENGTHS = """
K staleness epochs updates
1 0         2      20
2 0         2      20
2 2         2      20
2 2         2      20
"""
REACHED = """
K staleness reached updates_to_target updates_to_target_low updates_to_target_high target_coverage
1 0         2       15.0              10.0                  20.0                   0.5
2 0         2       15.0              10.0                  20.0                   0.5
2 2         2       20.0              20.0                  20.0                   0.5
2 2         0       inf               .                     .                      .
"""
SECONDS = """
K staleness target_accuracy seconds_to_target seconds_to_target_low seconds_to_target_high
1 0         0.86            3.0               2.0                   4.0
2 0         0.86            3.0               2.0                   4.0
2 2         0.86            4.0               4.0                   4.0
2 2         0.86            .                 .                     .
"""
"""An epoch is of 10 updates and 2 seconds; the last run diverged, and its agents shared cores."""
THROUGHPUT = """
K S staleness host oversubscribed n images_per_second over_single over_single_low over_single_high over_single_n
1 1 0         a    False          2 105.0             .           .               .                0
2 1 0         a    False          2 99.75             0.95        0.95            0.95             2
2 1 2         a    False          2 199.5             1.9         1.9             1.9              2
2 2 2         a    True           1 150.0             .           .               .                0
"""
LOCKED = """
K staleness over_locked over_locked_low over_locked_high over_locked_n efficiency forward_locking total_locking
1 0         .           .               .                0             0.75       0.25            0.25
2 0         .           .               .                0             0.75       0.25            0.25
2 2         2.0         2.0             2.0              2             0.75       0.25            0.25
2 2         .           .               .                0             0.75       0.25            0.25
"""


def test_the_table_of_accuracies() -> None:
    table = quality_table(runs(), MARGIN, target=0.86)
    table["said"] = table["said"].str.replace(" ", "_").replace("", math.nan)
    for expected in (ACCURACY, SAMPLING, LENGTHS, REACHED, SECONDS):
        assert only(table, expected.split("\n")[1].split()) == literal(expected)
    assert not [name for name in quality_table(runs(), MARGIN) if "target" in name or name == "reached"]


def test_the_table_of_throughputs() -> None:
    table = throughput_table(runs())
    for expected in (THROUGHPUT, LOCKED):
        assert only(table, expected.split("\n")[1].split()) == literal(expected)
    assert set(table["peak_megabytes"]) == {500.0}


def test_every_row_names_its_runs() -> None:
    accuracy, throughput = rows(quality_table(runs(), MARGIN))[2], rows(throughput_table(runs()))[2]
    own = f"{NAME[2, 2, 0]} {NAME[2, 2, 1]}"
    single = f"{NAME[1, 0, 0]} {NAME[1, 0, 1]}"
    assert (accuracy["runs"], accuracy["backpropagation_runs"]) == (own, single)
    locked = f"{NAME[2, 0, 0]} {NAME[2, 0, 1]}"
    assert [throughput[key] for key in ("runs", "single_runs", "locked_runs")] == [own, single, locked]


def test_the_table_of_runs() -> None:
    table = rows(runs_table(runs()))
    assert [row["run"] for row in table] == [item["config_hash"] for item in RECORDS]
    assert [(row["K"], row["seed"], row["status"]) for row in table[-2:]] == [(2, 1, "done"), (2, 0, "diverged")]
    assert (table[0]["accuracy/test"], table[0]["host"], table[0]["data_digest"]) == (0.9, "a", "d1")


def test_ratios_pair_runs_of_one_seed() -> None:
    """The machine is twice as fast in the second round; a seed without its counterpart is left out."""
    slow, fast = record(100.0, [0.9], seed=0), record(200.0, [0.9], seed=1)
    own = [record(speed, [0.9], stages=2, staleness=2, seed=seed) for seed, speed in enumerate((150.0, 300.0, 77.0))]
    row = rows(throughput_table(runs(slow, fast, *own)))[1]
    assert (row["n"], row["over_single_n"]) == (3, 2)
    assert [row[f"over_single{end}"] for end in ("", "_low", "_high")] == [1.5, 1.5, 1.5]


def test_a_baseline_is_compared_and_not_compared_with() -> None:
    """It has no staleness either, but back-propagation is the decoupled method's."""
    gpipe = record(140.0, [0.80, 0.90], stages=2, method="gpipe", microbatches=2, seed=0)
    single = record(70.0, [0.70, 0.75], method="ddp", seed=0)
    table = rows(throughput_table(runs(*RECORDS, gpipe, single)))
    table = [row for row in table if row["S"] == 1]
    over = {(row["K"], row["staleness"], row["method"]): (row["over_single"], row["over_locked"]) for row in table}
    assert over[2, 0, "gpipe"] == (near(1.4), near(140 / 95))
    assert over[2, 2, "decoupled"] == (near(1.9), near(2.0))
    accuracies = {(row["K"], row["method"]): row for row in rows(quality_table(runs(*RECORDS, gpipe, single), MARGIN))}
    assert accuracies[2, "gpipe"]["backpropagation_runs"] == f"{NAME[1, 0, 0]} {NAME[1, 0, 1]}"
    assert [run.label for run in runs(gpipe, single, RECORDS[4])] == ["K2 S1 gpipe m2", "K1 S1 ddp", "K2 S1 c2"]


def test_methods_are_told_apart_by_their_microbatches() -> None:
    """They are by a column in tables and by a label in pictures; each is compared with the locked pipeline."""
    piped = [
        record(speed, [0.1], stages=2, method=method, microbatches=count)
        for method, count, speed in (("gpipe", 2, 120.0), ("gpipe", 4, 140.0), ("1f1b", 2, 130.0), ("1f1b", 4, 150.0))
    ]
    locked, delayed = record(100.0, [0.1], stages=2), record(190.0, [0.1], stages=2, staleness=2)
    found = runs(*piped, delayed, locked)
    table = rows(throughput_table(found))
    assert [(row["method"], row["microbatches"], row["staleness"], row["over_locked"]) for row in table] == [
        ("1f1b", "2", 0, near(1.3)),
        ("1f1b", "4", 0, near(1.5)),
        ("decoupled", "", 0, pytest.approx(math.nan, nan_ok=True)),
        ("gpipe", "2", 0, near(1.2)),
        ("gpipe", "4", 0, near(1.4)),
        ("decoupled", "", 2, near(1.9)),
    ]
    labels = {"K2 S1 c0", "K2 S1 c2", *(f"K2 S1 {method} m{count}" for method in ("gpipe", "1f1b") for count in (2, 4))}
    assert sorted(group.label for group in groups_of(found)) == sorted(labels)


def test_halves_of_a_batch_are_compared_with_the_whole_of_it() -> None:
    """Two replicas with 32 images each: over K=S=1 with 32, which also does the same work an image, or else with 64."""
    whole, half = record(100.0, [0.1], batch_size=64), record(80.0, [0.1], batch_size=32)
    shared = record(180.0, [0.1], method="ddp", replicas=2, batch_size=32)
    for others, over in (([whole], 1.8), ([half, whole], 2.25), ([record(90.0, [0.1], batch_size=16)], math.nan)):
        (row,) = (row for row in rows(throughput_table(runs(shared, *others))) if row["S"] == 2)
        assert (row["over_single"], row["over_single_n"]) == (near(over), 1 - math.isnan(over))
    (row,) = (row for row in rows(quality_table(runs(shared, whole), MARGIN)) if row["S"] == 2)
    assert row["backpropagation_runs"] == ""


def test_replicas_are_not_compared_with_as_many_that_have_larger_batches() -> None:
    """The locked run has as many replicas, and so twice as many images an update."""
    locked = record(100.0, [0.1], stages=2, replicas=2, batch_size=64)
    (row,) = (
        row
        for row in rows(throughput_table(runs(locked, record(190.0, [0.1], None, **FOUR, batch_size=32))))
        if row["staleness"]
    )
    assert row["over_locked_n"] == 0


def test_methods_are_drawn_beside_one_another(tmp_path: Path) -> None:
    """DDP with half the batch had a picture of its own, and one without a line to explain warned of it."""
    halves = record(180.0, [0.1], method="ddp", replicas=2, batch_size=32)
    found = runs(record(100.0, [0.1], batch_size=64), halves)
    panels = workloads_of(found, lambda run: run.network)
    assert [(title, [group.label for group in groups_of(members)]) for title, members in panels] == [
        ("resnet on synthetic", ["K1 S2 ddp 32", "K1 S1 c0 64"])
    ]
    assert [title for title, _ in workloads_of(found, lambda run: run.workload)] == ["batch_size=32", "batch_size=64"]
    assert all((tmp_path / f"{chart.name}.png").stat().st_size for chart in draw_all(found, tmp_path))


def test_a_label_says_what_else_differs() -> None:
    """It says nothing of keys that have no bearing on a run."""
    found = runs(*(record(1.0, [0.1], stages=2, staleness=c, weights=w) for c, w in ((2, "latest"), (2, "stashed"))))
    found += runs(record(1.0, [0.1], stages=2))
    assert [group.label for group in groups_of(found)] == ["K2 S1 c0", "K2 S1 c2 latest", "K2 S1 c2 stashed"]


def test_what_a_choices_name_tells_is_not_told_again() -> None:
    """Six optimizers once made twenty columns: each has its own betas, and no two runs of one have others."""
    adamw, lion = VALUES["adamw"], VALUES["lion"]
    lines = runs(*(record_of(config(optimizer=keys, seed=seed)) for keys in (SGD, adamw, lion) for seed in (0, 1)))
    assert varying(lines) == ["optimizer.name"]
    other = record_of(config(optimizer={**adamw, "weight_decay": 0.5}))
    assert varying([*lines, *runs(other)]) == ["optimizer.name", "optimizer.weight_decay"]
    assert varying(runs(other, record_of(config(optimizer=adamw)))) == ["optimizer.weight_decay"]


def test_hosts_are_not_mixed_unless_asked() -> None:
    records = [record(100.0, [0.9]), record(300.0, [0.9], {"host": "b"}, stages=2, staleness=2)]
    apart, mixed = throughput_table(runs(*records)), throughput_table(runs(*records), mix_hosts=True)
    assert [row["host"] for row in rows(apart)] == ["a", "b"]
    assert math.isnan(rows(apart)[1]["over_single"])
    assert not {"host", "machine"} & set(mixed.columns)
    assert rows(mixed)[1]["over_single"] == 3.0
    assert math.isnan(rows(mixed)[1]["over_single_low"])


def test_machines_of_one_name_are_not_mixed() -> None:
    """Virtual machines on an EPYC of 2017 and on one of 2024 were both "vm" with an "AMD EPYC"."""
    records = [record(100.0, [0.9]), record(300.0, [0.9], {"cpu": "another CPU"}, stages=2, staleness=2)]
    table = rows(throughput_table(runs(*records)))
    assert [(row["host"], row["machine"]) for row in table] == [("a", "2 x a CPU"), ("a", "2 x another CPU")]
    assert math.isnan(table[1]["over_single"])


def test_speeds_that_were_measured_with_company_are_kept_apart() -> None:
    """One is of a seed that others were measured alone with: it goes into no mean and no ratio of theirs."""
    beside = {"environment": {**MACHINE, "colocated": True}}
    singles = [record(100.0, [0.9], seed=0), record(110.0, [0.9], seed=1, **beside)]
    pairs = [record(190.0, [0.9], stages=2, staleness=2, seed=seed) for seed in (0, 1)]
    table = throughput_table(runs(*singles, *pairs))
    wanted = "K colocated n images_per_second over_single over_single_n"
    found = {tuple(row.values()) for row in rows(table[wanted.split()].fillna(0))}
    assert found == {(1, False, 1, 100.0, 0, 0), (1, True, 1, 110.0, 0, 0), (2, False, 2, 190.0, 1.9, 1)}
    assert "colocated" not in throughput_table(runs(singles[0], *pairs))
    (company, *alone) = sorted(rows(runs_table(runs(*singles, *pairs))), key=lambda row: row["colocated"] is not True)
    assert [company["run"], len(alone)] == [singles[1]["config_hash"], 3]


def test_an_oracle_is_not_timed() -> None:
    records = [record(100.0, [0.9], engine="reference"), record(50.0, [0.9], engine="reference", stages=2)]
    assert math.isnan(rows(throughput_table(runs(*records)))[1]["over_single"])


def test_seconds_to_a_target_are_told_where_they_were_measured() -> None:
    """The oracle's are those of one process, agents that shared cores waited for them, and machines differ in theirs:
    updates are told of all of these."""
    reached = [record(1.0, [0.5, 0.9], stages=2, seed=seed) for seed in range(3)]
    own = [{**MACHINE, "oversubscribed": True}, {**MACHINE, "cpu": "another CPU"}]
    kinds = [reached, [record(1.0, [0.5, 0.9], engine="reference", seed=seed) for seed in range(3)]]
    kinds += [[*reached[:2], {**reached[2], "environment": other}] for other in own]
    found = [rows(quality_table(runs(*records), MARGIN, target=0.8))[0] for records in kinds]
    assert [near(row["seconds_to_target"]) for row in found] == [4.0, math.nan, math.nan, math.nan]
    assert [(row["updates_to_target"], row["reached"], row["target_coverage"]) for row in found] == [(20, 3, 0.75)] * 4


def test_a_run_that_misses_a_target_or_diverges_takes_for_ever() -> None:
    """One of three is beyond the median, two are it; one that was there and was lost has not reached it."""
    missed, lost = record(1.0, [0.5, 0.6], seed=1), record(1.0, [0.9, None], seed=2)
    reached = [record(1.0, [0.5, 0.9], seed=seed) for seed in range(3)]
    one, two = ([*reached[:1], missed, reached[2]], [*reached[:1], missed, lost])
    for records, median, count in ((one, 20.0, 2), (two, math.inf, 1)):
        (row,) = rows(quality_table(runs(*records), MARGIN, target=0.8))
        names = ("updates_to_target", "updates_to_target_low", "updates_to_target_high", "reached")
        assert [row[name] for name in names] == [median, 20.0, math.inf, count]


def test_a_diverged_run_is_counted_and_in_no_mean() -> None:
    records = [record(1.0, [value], seed=seed) for seed, value in enumerate((0.8, 0.6, None))]
    records += [record(1.0, [value], stages=2, staleness=2, seed=seed) for seed, value in enumerate((0.7, None, 0.1))]
    single, stale = rows(quality_table(runs(*records), MARGIN))
    assert [(row["n"], row["diverged"], near(row["accuracy"])) for row in (single, stale)] == [(3, 1, 0.7), (3, 1, 0.4)]
    assert (stale["pairs"], near(stale["difference"])) == (1, -0.1)


def test_workloads_are_not_compared() -> None:
    """What tells them apart is a column; what all have in common is none."""
    records = [record(100.0, [0.9], batch_size=4), record(300.0, [0.8], batch_size=8, stages=2, staleness=2)]
    table = quality_table(runs(*records), MARGIN)
    assert [row["batch_size"] for row in rows(table)] == ["4", "8"]
    assert "model.depth" not in table.columns
    assert math.isnan(rows(table)[1]["difference"])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20))
def test_the_front_is_what_no_point_beats(points: list[tuple[int, int]]) -> None:
    def beaten(point: tuple[int, int]) -> bool:
        return any(other[0] >= point[0] and other[1] >= point[1] and other != point for other in points)

    assert pareto_front(points) == sorted({point for point in points if not beaten(point)})


# ------------------------------------------------------------------------------------------------------------ the verb
@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of the records, of broken ones, and of failures."""
    place = tmp_path_factory.mktemp("report")
    runs_dir = keep_records(place / "runs", *RECORDS)
    for name, text in {"cut": '{"schema": 1, "sta', "old": '{"schema": 0}', "odd": json.dumps(RECORDS[0])}.items():
        (runs_dir / name).mkdir()
        (runs_dir / name / "record.json").write_text(text)
    broken = record(1.0, [0.5], seed=9)
    broken["metrics"]["accuracy/test"] = "high"
    keep_records(runs_dir, broken)
    RunFolder(runs_dir / "failed").write_failure("rank 0: <b>out of memory</b>", "failed")
    (runs_dir / NAME[1, 0, 0] / "events.jsonl").write_text('{"event": "epo')
    assert main(["report", f"runs_dir={runs_dir}", "--results", str(place / "results")]) == 0
    return place / "results"


def test_a_report_leaves_its_files(reported: Path) -> None:
    # No run was asked for its margin.
    pictures = {f"{name}.png" for name in found_beside(Picture)} - {"margin.png"}
    assert pictures >= {"pareto.png", "locking.png", "curves.png", "staleness.png"}
    tables = {"runs.csv", "accuracy.csv", "throughput.csv", "metrics.json", "report.html", SCRIPT}
    assert {path.name for path in reported.iterdir()} == pictures | tables
    assert all((reported / name).read_bytes().startswith(b"\x89PNG") for name in pictures)


def test_broken_files_are_named_and_not_counted(reported: Path) -> None:
    with (reported / "runs.csv").open() as file:
        assert [row["run"] for row in csv.DictReader(file)] == [item["config_hash"] for item in RECORDS]
    page = (reported / "report.html").read_text()
    assert "Passed over: 5" in page
    for name in ("cut/record.json", "old/record.json", "odd/record.json", f"{NAME[1, 0, 0]}/events.jsonl"):
        assert f"/{name}: " in page
    assert "metrics.accuracy/test=&#39;high&#39;: must be a valid number" in page


def test_the_page_is_whole_and_safe(reported: Path) -> None:
    page = (reported / "report.html").read_text()
    assert "failed: rank 0: &lt;b&gt;out of memory&lt;/b&gt;" in page
    assert page.count('<figure class="plot"') == len([*reported.glob("*.png")])
    assert not [word for word in ("http:", "https:", "<link", "src='") if word in page]
    assert re.findall("src=[^>]*", page) == [f'src="{SCRIPT}"']
    assert all(f'data-run="{item["config_hash"]}"' in page for item in RECORDS)
    assert f'href="#{NAME[2, 2, 1]}"' in page


def test_csv_keeps_accuracies_whole(tmp_path: Path) -> None:
    """They have every digit: a reproduced table is compared with them."""
    accuracy = 0.1 + 0.2
    keep_records(tmp_path / "runs", record(1.0, [accuracy]))
    assert main(["report", f"runs_dir={tmp_path}/runs", "--results", str(tmp_path)]) == 0
    for name in ("runs", "accuracy"):
        with (tmp_path / f"{name}.csv").open() as file:
            (row,) = csv.DictReader(file)
        assert float(row["accuracy/test" if name == "runs" else "accuracy"]) == accuracy


def test_points_can_be_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from bench.study.sweep.compose import sweep

    overrides = ["-m", "stages=1,2", "seed=0,1"]
    points = sweep(overrides[1:])
    for point in points[:3]:
        keep_records(tmp_path / "runs", record_of(point.config))
    keep_records(tmp_path / "runs", RECORDS[0])
    words = ["report", *overrides, f"runs_dir={tmp_path}/runs", "--results", str(tmp_path / "results")]
    assert main(words) == 0
    assert "3 runs: " in capsys.readouterr().out
    page = (tmp_path / "results/report.html").read_text()
    assert f"{points[3].config.hash()}: {' '.join(points[3].overrides)}" in page
    assert RECORDS[0]["config_hash"] not in page


def test_what_is_asked_of_runs_chooses_none(tmp_path: Path) -> None:
    """Without a target there is no column of one; and the margin is a share of 1."""
    keep_records(tmp_path / "runs", *RECORDS)

    def table(*words: str) -> list[dict[str, str]]:
        assert main(["report", f"runs_dir={tmp_path}/runs", "--results", str(tmp_path), *words]) == 0
        with (tmp_path / "accuracy.csv").open() as file:
            return list(csv.DictReader(file))

    plain = table()
    assert not [name for name in plain[0] if "target" in name]
    asked = table("report.target=0.86", "report.margin=0.0001", "force=true")
    assert [row["runs"] for row in asked] == [row["runs"] for row in plain]
    assert {row["target_accuracy"] for row in asked} == {"0.86"}
    assert [row["said"] for row in plain] == ["", "no worse", "worse", ""]
    assert [row["said"] for row in asked] == ["", "undecided", "worse", ""]


def test_wrong_reports_are_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    runs_dir = keep_records(tmp_path / "runs/grid", *RECORDS)
    wrong = {
        f"runs_dir={tmp_path}/none": f"runs_dir='{tmp_path}/none': holds no records",
        f"runs_dir={tmp_path}/runs": f"runs_dir='{tmp_path}/runs': holds no records; there are some in {runs_dir}",
        f"runs_dir={runs_dir} model=mlp": f"runs_dir='{runs_dir}': holds no record of these points",
        f"runs_dir={runs_dir} --results {tmp_path}/file": f"--results='{tmp_path}/file': must be a folder that can be "
        "written (File exists)",
        f"runs_dir={runs_dir} report.target=90": "report.target=90: must be at most 1, as accuracy is a share",
        f"runs_dir={runs_dir} report.margin=0": "report.margin=0: must be greater than 0",
        f"runs_dir={runs_dir} report.aim=1": "report.aim: there is no such key; allowed are margin, target",
    }
    for words, message in wrong.items():
        assert main(["report", *words.split()]) == 2
        assert capsys.readouterr().err == f"bench: {message}\n"


@pytest.mark.full
def test_many_records_are_reported_soon(tmp_path: Path) -> None:
    """A twelfth of what is asked for (5,000 in 20 s), in runs of 20 epochs and up to 8 agents."""
    grid = itertools.product(range(25), (1, 2, 4, 8), (1, 2, 3, 4, 5))
    for seed, stages, staleness in grid:
        item = record(100.0, [0.9] * 20, stages=stages, staleness=staleness, seed=seed)
        keep_records(tmp_path / "runs", item)
    started = time.process_time()
    assert main(["report", f"runs_dir={tmp_path}/runs", "--results", str(tmp_path)]) == 0
    assert time.process_time() - started < 10
    assert len(read_records(tmp_path / "runs", read_run).runs) == 25 * (1 + 3 * 5)


def test_accuracies_are_compared_in_pairs_of_the_same_seed() -> None:
    """By hand: differences of -0.02, -0.01 and -0.03, whose interval is 4.303 * 0.01 / sqrt(3) = 0.02484 wide to either
    side; a single pair, or none, says nothing."""
    own, other = {0: 0.88, 1: 0.79, 2: 0.67}, {0: 0.90, 1: 0.80, 2: 0.70, 3: 0.10}
    runs = [_run_of(staleness=2, seed=seed, accuracy=value) for seed, value in own.items()]
    runs += [_run_of(staleness=0, seed=seed, accuracy=value) for seed, value in other.items()]
    table = quality_table(runs, MARGIN).set_index("staleness")
    row = table.loc[2]
    assert (row["pairs"], row["said"]) == (3, "undecided")
    assert [*row[["difference", "difference_low", "difference_high"]]] == pytest.approx(
        [-0.02, -0.044841, 0.004841], abs=1e-6
    )
    assert row["detectable"] == pytest.approx(3.26404 * 0.01, rel=1e-4)
    assert (table.loc[0]["pairs"], table.loc[0]["said"]) == (0, "")
    assert quality_table(runs, margin=0.05).set_index("staleness").loc[2]["said"] == "no worse"
    assert quality_table([*runs[:1], *runs[3:]], MARGIN).set_index("staleness").loc[2]["said"] == "undecided"


def test_what_is_marked_is_better_or_worse() -> None:
    """Each seed loses 0.02 and a little, or wins as much."""
    wins = {seed: 0.001 * seed for seed in range(5)}
    runs = [_run_of(staleness=0, seed=seed, accuracy=0.5 + 0.1 * seed) for seed in wins]
    runs += [_run_of(staleness=1, seed=seed, accuracy=0.52 + 0.1 * seed + extra) for seed, extra in wins.items()]
    runs += [_run_of(staleness=2, seed=seed, accuracy=0.48 + 0.1 * seed - extra) for seed, extra in wins.items()]
    assert quality_table(runs, MARGIN).set_index("staleness")["said"].to_dict() == {0: "", 1: "better", 2: "worse"}


def _run_of(staleness: int, seed: int, accuracy: float) -> Run:
    keys = {"stages": 2, "staleness": staleness, "seed": seed}
    return read_run(record_of(config(**keys), 100.0, [accuracy]))
