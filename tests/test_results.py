"""The committed results: what DVC would run is there to run, and a small table is reproduced to the last digit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.study.sweep.compose import sweep
from bench.study.tune.study import TUNE, study_of
from tests.commands import ROOT

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
