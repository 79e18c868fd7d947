"""What is published: every experiment has its records, and all of it hangs on what it uses."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.config import RunConfig
from bench.record.version import is_current
from bench.study.sweep.compose import sweep
from bench.study.tune.study import TUNE, study_of
from tests.commands import ROOT

PUBLISHED = sorted(path.stem for path in (ROOT / "conf/experiment").glob("*.yaml"))
PIPELINES = [ROOT / "dvc.yaml", ROOT / "results/cifar10/dvc.yaml"]
GROUPS = ("model", "optimizer", "lr", "averaging", "correction", "clip")


def _stages(pipeline: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(pipeline.read_text())["stages"])


def _params(stage: dict[str, Any], item: str = "") -> dict[str, Any]:
    """The keys that a stage depends on, by file; None for all of a file."""
    known = {key: keys for entry in stage["params"] for key, keys in entry.items()}
    return {key.replace("${item.experiment}", item): keys for key, keys in known.items()}


def _sweeps() -> list[tuple[str, dict[str, Any]]]:
    """Every experiment with the stage that makes its records."""
    found = []
    for pipeline in PIPELINES:
        for stage in _stages(pipeline).values():
            named = stage["cmd"].partition("-m +experiment=")[2].split()
            found += [(item, stage) for item in (stage.get("matrix", {}).get("experiment") or named[:1])]
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_experiment_has_a_stage() -> None:
    assert sorted(name for name, _ in _sweeps()) == PUBLISHED


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda path: path.parent.name)
def test_what_a_pipeline_depends_on_is_there(pipeline: Path) -> None:
    for name, stage in _stages(pipeline).items():
        for item in stage.get("matrix", {}).get("experiment", [""]):
            params = _params(stage, item) if "params" in stage else {}
            for path in [*stage.get("deps", []), *params]:
                assert (ROOT / path).exists(), (name, path)


@pytest.mark.parametrize(("item", "stage"), _sweeps(), ids=[name for name, _ in _sweeps()])
def test_records_depend_on_all_that_decides_a_result(item: str, stage: dict[str, Any]) -> None:
    """They do, or a change there would not reach the published tables; and on no key that decides none."""
    params, primary = _params(stage, item), {"primary": TUNE} if item == "tuning" else {}
    config = sweep([f"+experiment={item}"], **primary)[0].config
    keys = {field.name for field in fields(RunConfig)} - {choice.group for choice in config.choices}
    assert set(params["conf/config.yaml"]) == keys | {"defaults"}
    assert {f"conf/{group}/{getattr(config, group).name}.yaml" for group in GROUPS} < set(params)
    assert {"bench/record/version.py", f"conf/experiment/{item}.yaml"} < set(params)
    if config.data.name == "synthetic":
        assert "conf/data/synthetic.yaml" in params
    if "+contender" in (ROOT / f"conf/experiment/{item}.yaml").read_text():
        assert stage["deps"] == ["conf/contender"]


def test_studies_say_every_preset_that_they_write() -> None:
    stage = _stages(ROOT / "dvc.yaml")["studies"]
    assert "conf/tune.yaml" in _params(stage)
    names = {study_of(point).tuning.study for point in sweep(["+experiment=tuning"], TUNE)}
    assert {f"conf/lr/tuned/{name}.yaml" for name in names} < {key for entry in stage["outs"] for key in entry}


@pytest.mark.parametrize("experiment", PUBLISHED)
def test_what_is_published_has_five_seeds_of_every_point(experiment: str) -> None:
    """One seed says nothing of how far seeds are apart, and three say little."""
    if experiment == "tuning":
        assert all(study_of(point).tuning.repeats >= 5 for point in sweep(["+experiment=tuning"], TUNE))
        return
    seeds: dict[str, set[int]] = {}
    for point in sweep([f"+experiment={experiment}"]):
        seeds.setdefault(json.dumps(point.config.canonical() | {"seed": None}), set()).add(point.config.seed)
    assert min(map(len, seeds.values())) >= 5


@pytest.mark.parametrize("experiment", PUBLISHED)
def test_the_records_are_those_of_the_experiment(experiment: str) -> None:
    """They are of all its points, of this version of the engine, and of a clean tree: anyone can make them again."""
    records = _lines(ROOT / f"results/{experiment}/records.jsonl")
    assert all(is_current(record) and not record["environment"]["git_dirty"] for record in records)
    if experiment == "tuning":
        asked = {study_of(point).tuning.study for point in sweep(["+experiment=tuning"], TUNE)}
        assert {line["study"] for line in _lines(ROOT / "results/tuning/trials.jsonl")} == asked
    else:
        asked = {point.config.hash() for point in sweep([f"+experiment={experiment}"])}
        assert {record["config_hash"] for record in records} == asked
