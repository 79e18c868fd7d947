"""What compares runs knows no task: it follows what a record says of its unit, its quality and its direction."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import bench
from bench.plan.inference import paired, word_of, words_of
from bench.record.schema import check_record
from bench.study.report.markdown import table_of
from bench.study.report.picture.pareto import Pareto
from bench.study.report.picture.staleness import Staleness
from bench.study.report.publish import tables_of
from bench.study.report.quality_table import quality_table
from bench.study.report.result import Run, read_run
from bench.study.report.terminal import shown, summary
from bench.study.report.throughput import throughput_table
from bench.study.sweep.compose import single
from bench.study.tracking.headline import headline
from bench.study.tune.study import TUNE, Study, study_of
from bench.study.tune.trials import directions_of
from bench.task.judgement import Judgement
from bench.task.language import TOKENS
from tests.records import record_of
from tests.test_language_model import run_of
from tests.tiny import config

PACKAGE = Path(bench.__file__).parent
FLOOR = 1.5
WORDS = re.compile(r"images?\b|accurac|cross.?entrop", re.IGNORECASE)
OTHER_IMAGES = {"engine/measure/curvature.py", "rule/by_parameter.py"}
"""Files in which a vector has an image under a matrix."""


def test_only_the_task_says_what_is_learned() -> None:
    """Nothing outside ``task/`` says images, accuracy or cross entropy; but an example of a command may name a data
    set."""
    found: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        lines = [line for line in path.read_text().splitlines() if WORDS.search(line.replace("data=imagefolder", ""))]
        if lines and not name.startswith("task/") and name not in OTHER_IMAGES:
            found[name] = lines
    assert found == {}


def of_tokens(staleness: int, seed: int, loss: float | None, speed: float = 100.0) -> Run:
    """A run of a language model that has ended with a loss, on tokens whose floor is known."""
    record = record_of(run_of({"stages": 2, "staleness": staleness, "seed": seed}), speed)
    excess = None if loss is None else loss - FLOOR
    numbers: dict[str, Any] = {"loss/test": loss, "excess/test": excess}
    metrics = {name: number for name, number in record["metrics"].items() if not name.endswith("/test")}
    del metrics["throughput/images_per_second"]
    speeds = {"throughput/units_per_second": speed, "throughput/tokens_per_second": speed}
    record["metrics"] = {**metrics, **numbers, **speeds}
    record["epochs"] = [
        {**{key: value for key, value in epoch.items() if "accuracy" not in key}, **numbers}
        for epoch in record["epochs"]
    ]
    record["task"] = {**Judgement.of(TOKENS).told(), "floor": FLOOR}
    record["data"] = {"name": "markov", "digest": "d2", "train_tokens": 900, "validation_tokens": 0, "test_tokens": 100}
    record["status"] = "diverged" if loss is None else "done"
    check_record(record)
    return read_run(record)


@pytest.fixture
def runs() -> list[Run]:
    """Back-propagation, and staleness that has a higher loss at 1 and a lower one at 2, in five seeds."""
    losses = {0: 2.0, 1: 2.1, 2: 1.9}
    return [of_tokens(c, seed, loss + 0.01 * seed, 100 + 50 * c) for c, loss in losses.items() for seed in range(5)]


def test_a_loss_is_better_where_it_is_lower(runs: list[Run]) -> None:
    table = quality_table(runs, None, target=1.95).set_index("staleness")
    assert table["said"].to_dict() == {0: "", 1: "worse", 2: "better"}
    assert table.loc[2]["difference"] == pytest.approx(-0.1)
    assert table["reached"].to_dict() == {0: 0, 1: 0, 2: 5}
    assert {"loss", "test_tokens", "target_loss"} <= {*table.columns}
    assert not [name for name in table if "accuracy" in name or "test_set" in name]


def test_the_margin_is_the_qualitys_own_unless_another_is_asked_for() -> None:
    """Losses that differ by 0.002 nats in pairs: no worse within the 0.01 of a loss, and undecided within 0.001."""
    own = [of_tokens(1, seed, 2.0 + 0.002 * (-1) ** seed) for seed in range(6)]
    plain = [of_tokens(0, seed, 2.0) for seed in range(6)]
    for margin, word in ((None, "no worse"), (0.001, "undecided")):
        assert quality_table([*plain, *own], margin).set_index("staleness").loc[1]["said"] == word


def test_a_difference_of_losses_has_no_bounds_and_no_resolution() -> None:
    found = paired([5.0, 5.5, 6.0], [1.0, 1.1, 1.2], None)
    assert found.difference.low > 1
    same = paired([2.0, 2.0], [1.5, 1.5], None)
    assert (same.deviation, same.difference[:3]) == (0.0, (0.5, 0.5, 0.5))
    assert words_of([same], 0.01, lambda difference: -difference) == ["worse"]
    assert word_of(paired([2.0, 2.0], [2.0, 2.0], None), differs=False, margin=0.01) == "no worse"


def test_the_tables_say_what_is_counted(runs: list[Run]) -> None:
    text = summary([*runs, of_tokens(2, 7, None)])
    head = text.splitlines()[0]
    assert "tok/s" in head
    assert "test loss" in head
    assert "1.9000" in text
    assert "tokens_per_second" in throughput_table(runs)
    assert "difference %" not in table_of({"loss": quality_table(runs, None)}, "loss")
    assert "tokens_per_second" in shown("throughput", throughput_table(runs))


def test_tasks_are_told_apart_where_a_report_has_several(runs: list[Run]) -> None:
    images = [read_run(record_of(config(seed=seed))) for seed in range(2)]
    tables = tables_of([*runs, *images], None, None)
    assert [*tables] == ["loss", "accuracy", "throughput", "runs"]
    assert (len(tables["loss"]), len(tables["accuracy"])) == (3, 1)
    assert "units_per_second" in tables["throughput"]
    head = summary([*runs, *images]).splitlines()[0]
    assert "test loss" in head
    assert "test accuracy %" in head


def test_the_front_is_of_those_that_no_other_beats(runs: list[Run]) -> None:
    """The fastest has the lowest loss too: it is all of the front."""
    (panel,) = Pareto().panels(runs)
    front = next(series for series in panel.series if series.look == "front")
    (mark,) = front.marks
    assert (mark.x.mean, mark.y.mean) == pytest.approx((200.0, 1.92))
    assert (panel.x.title.split()[0], panel.y.title) == ("tokens/s", "test loss, nats")
    assert Staleness().panels(runs)[0].y.form == "number"


def test_a_sweeps_best_is_the_lowest_loss(runs: list[Run]) -> None:
    found = headline(runs)
    assert found["loss/test_best"] == pytest.approx(1.9)
    assert found["throughput/units_per_second_best"] == 200


def test_a_number_is_told_with_its_distance_from_the_floor() -> None:
    told = Judgement.of(TOKENS)
    assert told.shown(1.75) == "1.7500"
    floored = Judgement(told.unit, told.short, told.quality, FLOOR)
    assert floored.shown(1.75) == "1.7500 (+0.2500 from the best possible)"
    assert told.shown(None) == "-"


def test_a_study_of_losses_minimises() -> None:
    study: Study = study_of(single(["model=gpt"], TUNE), TUNE)
    assert study.objectives == ["loss"]
    assert directions_of(study) == ["minimize"]
    assert study.quality.worst == float("inf")
    images = cast(Study, SimpleNamespace(quality=study_of(single([], TUNE), TUNE).quality, objectives=["a", "time"]))
    assert directions_of(images) == ["maximize", "minimize"]
