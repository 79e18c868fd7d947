"""What DVC says in a fresh clone: nothing is to be done, and a change reaches what hangs on it, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ROOT

PIPELINES = ("dvc.yaml", "results/cifar10/dvc.yaml")
RECORDS = ["clipping", "contenders", "optimizers", "records@accuracy", "records@grid", "records@staleness", "studies"]
CIFAR = ["results/cifar10/dvc.yaml:records@cifar10", "results/cifar10/dvc.yaml:records@cifar10_throughput"]
SAMPLE = "conf/experiment/accuracy.yaml"


def dvc(folder: Path, *words: str) -> str:
    """What ``dvc`` prints in a folder."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "PATH": path},
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def git(folder: Path, *words: str) -> str:
    known = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "core.hooksPath=/dev/null")
    return subprocess.run(["git", *known, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that git knows here, as they are now, committed in a repository of their own."""
    folder = tmp_path_factory.mktemp("clone")
    for name in git(ROOT, "ls-files").splitlines():
        if os.path.lexists(ROOT / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a clone")
    return folder


@pytest.fixture
def changed(clone: Path) -> Any:
    """The clone, to be changed; it is as it was afterwards."""
    yield clone
    git(clone, "checkout", "--quiet", ".")
    git(clone, "clean", "--quiet", "--force", "-d")


def stale(folder: Path) -> list[str]:
    """The stages that are not up to date."""
    return sorted(json.loads(dvc(folder, "status", "--json", *PIPELINES)))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_clone_is_up_to_date(clone: Path) -> None:
    """It was not for long: the folders of runs are in no clone, and were what the tables hung on."""
    assert stale(clone) == []
    assert "Data and pipelines are up to date" in dvc(clone, "repro", *PIPELINES)
    assert git(clone, "status", "--porcelain") == ""


def test_a_change_reaches_what_hangs_on_it(changed: Path) -> None:
    edit(changed / SAMPLE, "epochs: 10", "epochs: 9")
    assert stale(changed) == ["records@accuracy", "report"]
    git(changed, "checkout", "--quiet", ".")
    edit(changed / "bench/record/version.py", "ENGINE_VERSION = 1", "ENGINE_VERSION = 2")
    assert stale(changed) == sorted([*RECORDS, *CIFAR])
    git(changed, "checkout", "--quiet", ".")
    edit(changed / "bench/study/report/quality_table.py", "from __future__", "\nfrom __future__")
    assert stale(changed) == ["report"]
    git(changed, "checkout", "--quiet", ".")
    edit(changed / "conf/config.yaml", "runs_dir: runs ", "runs_dir: mine ")
    edit(changed / "bench/engine/train.py", "from __future__", "\nfrom __future__")
    assert stale(changed) == []


@pytest.mark.full
def test_the_report_is_made_of_records_alone(changed: Path) -> None:
    """Whoever has a clone can check every published table, picture and page, to the byte."""
    for name in ("README.md", "index.html", "accuracy/accuracy.csv", "grid/locking.png"):
        (changed / "results" / name).unlink()
    dvc(changed, "repro", "--force", "--single-item", "report")
    assert git(changed, "status", "--porcelain") == ""


def test_what_differs_is_told(changed: Path) -> None:
    metrics = changed / "results/accuracy/metrics.json"
    known = json.loads(metrics.read_text())
    group = next(iter(known))
    metrics.write_text(json.dumps(known | {group: known[group] | {"accuracy": 0.5}}))
    (difference,) = json.loads(dvc(changed, "metrics", "diff", "--json")).values()
    assert {name: values["new"] for name, values in difference.items()} == {f"{group}.accuracy": 0.5}
    edit(changed / SAMPLE, "epochs: 10", "epochs: 9")
    assert json.loads(dvc(changed, "params", "diff", "--json"))[SAMPLE]["epochs"] == {"old": 10, "new": 9, "diff": -1}
    dvc(changed, "plots", "diff", "HEAD", "--targets", "results/accuracy/accuracy.csv")
    assert "workspace" in (changed / "dvc_plots/index.html").read_text()


@pytest.mark.full
@pytest.mark.timeout(600)
def test_an_experiment_of_dvc_trains_with_its_change(changed: Path) -> None:
    """One epoch instead of ten, as its users type it; of one seed, as each of its runs starts processes."""
    words = ("--set-param", f"{SAMPLE}:epochs=1", "--set-param", f"{SAMPLE}:hydra.sweeper.params.seed=0")
    dvc(changed, "exp", "run", *words, "records@accuracy")
    records = [json.loads(line) for line in (changed / "results/accuracy/records.jsonl").read_text().splitlines()]
    assert sum(record["config"]["epochs"] == 1 for record in records) == 5
