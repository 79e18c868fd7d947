"""What studies have found, side by side: their best trials' accuracies over fresh seeds, in pairs of the same one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from bench.study.report.result import Run, read_run
from bench.study.report.sheet import FIRST
from bench.study.sweep.compose import single
from bench.study.tune.finding import Finding
from bench.study.tune.findings import print_findings, studies_table
from bench.study.tune.study import TUNE, study_of
from tests.records import record_of
from tests.tiny import config

SEEDS = range(1, 6)


def _run(seed: int, accuracy: float | None) -> Run:
    return read_run(record_of(config(seed=seed), 100.0, [accuracy]))


def finding(staleness: int, conditions: str, accuracies: Sequence[float | None], *words: str) -> Finding:
    """A study of which only its repeats with the seeds from 1 on are known."""
    asked = [f"staleness={staleness}", f"tuning.conditions={conditions}", "tracking=none", "model=mlp", *words]
    study = study_of(single([f"tuning.study=c{staleness}-{conditions}", *asked], TUNE))
    repeated = [_run(seed, accuracy) for seed, accuracy in enumerate(accuracies, start=1)]
    return Finding(study, 10, [], [], None, None, {}, [run.name for run in repeated], repeated)


def table(*findings: Finding) -> dict[str, dict[str, Any]]:
    return {row["study"]: row for row in studies_table(findings).to_dict("records")}


PLAIN = [0.5 + 0.05 * seed for seed in SEEDS]


def test_studies_are_compared_in_pairs_of_the_same_fresh_seed() -> None:
    """Seeds differ by far more than studies do: unpaired, nothing of this would be seen."""
    worse = [accuracy - 0.02 - 0.001 * seed for seed, accuracy in enumerate(PLAIN)]
    rows = table(finding(0, "none", PLAIN), finding(2, "none", worse), finding(2, "bound", worse))
    assert rows["c2-none"]["over_locked"] == pytest.approx(-0.022)
    assert (rows["c2-none"]["over_locked_said"], rows["c0-none"]["over_locked_said"]) == ("worse", "")
    # Student's quantile of 5 pairs is 2.77645; the differences are 0.020 to 0.024, whose deviation is 0.00158.
    half = 2.77645 * 0.00158114 / 5**0.5
    assert rows["c2-none"]["over_locked_low"] == pytest.approx(-0.022 - half, rel=1e-5)
    assert rows["c2-bound"]["over_unrestricted"] == 0
    assert rows["c2-bound"]["over_unrestricted_said"] == "no worse"
    assert (rows["c2-bound"]["over_locked_said"], rows["c2-none"]["over_unrestricted_said"]) == ("", "")


def test_columns_that_a_page_shows_first_are_there() -> None:
    assert {*FIRST["studies"].replace("quality", "accuracy").split()} <= {
        *studies_table([finding(2, "bound", PLAIN)]).columns
    }


def test_the_margin_and_the_budget_are_those_of_the_studies() -> None:
    near = [accuracy - 0.004 - 0.0005 * (seed % 2) for seed, accuracy in enumerate(PLAIN)]
    for margin, word in (("0.001", "worse"), ("0.02", "worse")):
        rows = table(*(finding(c, "none", [PLAIN, near][c // 2], f"report.margin={margin}") for c in (0, 2)))
        assert rows["c2-none"]["over_locked_said"] == word
    level = [accuracy + 0.006 * (-1) ** seed for seed, accuracy in enumerate(PLAIN)]
    for margin, word in (("0.005", "undecided"), ("0.02", "no worse")):
        rows = table(*(finding(c, "none", [PLAIN, level][c // 2], f"report.margin={margin}") for c in (0, 2)))
        assert rows["c2-none"]["over_locked_said"] == word
    for other in ("trials=21", "seed=7", "tuning.repeats=4"):
        assert table(finding(0, "none", PLAIN, other), finding(2, "none", near))["c2-none"]["over_locked_said"] == ""


def test_a_diverged_repeat_is_counted_and_in_no_pair(capsys: pytest.CaptureFixture[str]) -> None:
    found = [finding(0, "none", PLAIN), finding(2, "none", [None, *PLAIN[1:]])]
    row = table(*found)["c2-none"]
    assert (row["n"], row["accuracy"], row["over_locked"]) == (4, pytest.approx(0.675), 0)
    printed = print_findings(found)
    assert printed == capsys.readouterr().out.rstrip("\n")
    assert "+0.0 (-0.1 to +0.1) no worse" in printed
    assert "c2-none: 1 of 5 repeats diverged, without a quality" in printed
