"""The committed results: what DVC would run is there to run, and a small table is reproduced to the last digit."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.__main__ import main
from bench.record.environment import environment
from bench.rule.convergence import verdict
from bench.study.sweep.compose import compose, single, sweep
from bench.study.tune.study import TUNE, study_of
from tests.commands import ROOT, read_json

PUBLISHED = sorted(path.stem for path in (ROOT / "conf/experiment").glob("*.yaml"))
PIPELINES = [ROOT / "dvc.yaml", ROOT / "results/cifar10/dvc.yaml"]


def _stages(pipeline: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(pipeline.read_text())["stages"])


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda path: path.parent.name)
def test_what_a_pipeline_depends_on_is_there(pipeline: Path) -> None:
    for name, stage in _stages(pipeline).items():
        items = stage.get("matrix", {}).get("experiment", [""])
        made = [str(out) for other in _stages(pipeline).values() for entry in other["outs"] for out in entry]
        for item in items:
            for dependency in [*stage.get("deps", []), *(key for entry in stage.get("params", []) for key in entry)]:
                path = dependency.replace("${item.experiment}", item)
                assert dependency in made or (ROOT / path).exists(), (name, path)


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda path: path.parent.name)
def test_a_sweep_depends_on_the_groups_that_it_uses(pipeline: Path) -> None:
    """It does, or a change there would not reach the committed tables."""
    sweeps = [stage for stage in _stages(pipeline).values() if "bench -m +experiment=" in stage["cmd"]]
    assert sweeps
    for stage in sweeps:
        named = stage["cmd"].partition("+experiment=")[2].split()[0]
        for item in stage.get("matrix", {}).get("experiment", [named]):
            files = [key.replace("${item.experiment}", item) for entry in stage["params"] for key in entry]
            config = sweep([f"+experiment={item}"])[0].config
            for group in ("model", "optimizer", "lr", "averaging", "correction"):
                assert f"conf/{group}/{getattr(config, group).name}.yaml" in files
            assert f"conf/experiment/{item}.yaml" in files
            if config.data.name == "synthetic":
                assert "conf/data/synthetic.yaml" in files
            if "+contender" in (ROOT / f"conf/experiment/{item}.yaml").read_text():
                assert stage["deps"] == ["conf/contender"]


def test_the_studies_depend_on_what_they_use() -> None:
    """Every file that they write for Hydra is one that DVC knows, too."""
    stage = _stages(ROOT / "dvc.yaml")["tune"]
    files = [key for entry in stage["params"] for key in entry]
    points = sweep(["+experiment=tuning"], TUNE)
    config = points[0].config
    for group in ("model", "optimizer", "lr", "averaging", "correction"):
        assert f"conf/{group}/{getattr(config, group).name}.yaml" in files
    assert {"conf/config.yaml", "conf/tune.yaml", "conf/experiment/tuning.yaml"} < set(files)
    names = {study_of(point).tuning.study for point in points}
    outs = {key for entry in stage["outs"] for key in entry}
    assert {f"conf/lr/tuned/{name}.yaml" for name in names} < outs


def test_a_tuned_schedule_is_the_run_that_its_head_names() -> None:
    """The run is found by its hash, therefore."""
    files = sorted((ROOT / "conf/lr/tuned").glob("digits-*.yaml"))
    assert len(files) == 6
    for file in files:
        head = file.read_text().splitlines()
        overrides = head[1].partition("-m bench ")[2].split()
        named = head[4].partition(", run ")[2].partition(",")[0]
        fixed = ["+experiment=tuning", "tuning.conditions=bound", *(word for word in overrides if "lr=" not in word)]
        run = single([*fixed, overrides[-1]], TUNE).config
        assert run.hash() == named
        assert (verdict(run.lr).word == "convergent") or file.stem.endswith("-none")


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


@pytest.mark.usefixtures("without_pictures")
def test_a_small_table_is_reproduced(tmp_path: Path) -> None:
    """Accuracies to the last digit on the same kind of machine with the same torch, else to two points."""
    with (ROOT / "results/grid/runs.csv").open() as file:
        committed = {row["run"]: row for row in csv.DictReader(file)}
    for words in (["stages=1", "replicas=1", "staleness=0"], ["stages=2", "replicas=1", "staleness=2"]):
        overrides = ["+experiment=grid", "seed=0", *words]
        assert main([*overrides, "records=null", "tracking=none", f"runs_dir={tmp_path}"]) == 0
        row = committed[compose(overrides).hash()]
        record = read_json(tmp_path / row["run"] / "record.json")
        here = environment(False)
        same = all(str(here[key]) == row[key] for key in ("cpu", "torch"))
        tolerance = 0.0 if same else 0.02
        assert record["metrics"]["accuracy/test"] == pytest.approx(float(row["accuracy/test"]), rel=0, abs=tolerance)
        assert record["data"]["digest"] == read_json(ROOT / "results/digits.json")["digest"]
