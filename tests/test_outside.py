"""Choices of a user's own, of every group: ``tests/outside`` is such a user's package, beside its ``conf``."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas
import pytest
from mlflow.tracking import MlflowClient
from optuna.trial import FixedTrial

from bench.choice import SOURCE, TARGET, Choice
from bench.config import RunConfig, hash_of, parse
from bench.keys import ConfigError
from bench.origin import digest_of
from bench.study.launcher.packages import exported, importable
from bench.study.report.result import read_run
from bench.study.sweep.compose import compose, single
from bench.study.sweep.library import RUN
from bench.study.tune.space import space_of
from bench.study.tune.study import TUNE, Study, study_of
from tests.both import assert_same, both
from tests.commands import ROOT, read_json, said
from tests.outside import following, images, mixing, nets, norms, rates, rules, starting, steps, ways
from tests.pool import Pool

CONF = ROOT / "tests/outside/conf"
CHOICES: dict[str, type[Choice]] = {
    "model": nets.LeNet,
    "data": images.Stripes,
    "optimizer": steps.RMSProp,
    "lr": rates.Sawtooth,
    "averaging": mixing.Lazy,
    "correction": rules.Halve,
    "clip": norms.LargestNorm,
    "method": ways.Patient,
    "tracking": following.Journal,
    "launcher": starting.ShortestFirst,
}
"""The package's class of every group that has a contract."""
SETTINGS = {"tracking", "launcher"}
ALL = tuple(f"{group}={kind.name}" for group, kind in CHOICES.items() if group not in SETTINGS)
TINY = ("batch_size=8", "epochs=2", "partition=counted", "precision=float64")
SMALL = ("data=stripes", "data.images=48", "model=mlp", "model.hidden=4", "model.layers=2", "engine=reference", *TINY)


def own(*overrides: str) -> RunConfig:
    return compose(overrides, RUN.beside(str(CONF)))


def write_package(package: Path) -> Path:
    """Make a package of the user's one with corrections, and return this one's file."""
    package.mkdir(parents=True)
    return Path(shutil.copy(ROOT / "tests/outside/rules.py", package))


def names(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("runs/*/record.json"))


def test_every_file_of_the_users_folder_is_tried() -> None:
    files = {(path.parent.name, path.stem) for path in CONF.rglob("*.yaml")}
    assert files == {(group, kind.name) for group, kind in CHOICES.items()}


@pytest.mark.parametrize("group", CHOICES)
def test_a_users_choice_says_where_it_lies_and_what_it_was_made_from(group: str) -> None:
    kind = CHOICES[group]
    model = () if group == "model" else ("model=lenet",)
    point = single([f"{group}={kind.name}", *model], RUN.beside(str(CONF)))
    chosen = (point.config.resolved() | point.settings.values())[group]
    assert (chosen[TARGET], chosen[SOURCE], chosen["name"]) == (
        f"{kind.__module__}.{kind.__name__}",
        digest_of(kind),
        kind.name,
    )


@pytest.mark.parametrize(("replicas", "choices"), [(1, [[each] for each in ALL if "lazy" not in each]), (2, [[*ALL]])])
def test_both_engines_compute_the_same_with_a_users_choices(
    pool: Pool, replicas: int, choices: Sequence[Sequence[str]]
) -> None:
    lenet = [] if replicas > 1 else ["model=lenet"]
    runs = [own(*lenet, f"replicas={replicas}", "data=stripes", "data.images=107", *each, *TINY) for each in choices]
    for run, (ran, expected) in zip(runs, both(pool, runs), strict=True):
        assert ran.epochs[-1]["step"] == expected.epochs[-1]["step"] == 2 * 96 // 8 // replicas
        assert_same(ran.state, expected.state, str(run.resolved()))


@pytest.mark.usefixtures("without_pictures")
def test_a_sweep_goes_over_own_and_the_suites_choices(no_runs: Path, tmp_path: Path) -> None:
    """Points with a record are skipped; tables, records and MLflow hold what the choice was, and its source."""
    shutil.copy(no_runs, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    sweep = ("-m", "--config-dir", str(CONF), *SMALL, f"tracking.uri={uri}", "correction=none,halve,shrink")
    first = said(tmp_path, *sweep)
    assert (first.code, len(names(tmp_path))) == (0, 3), first.err
    again = said(tmp_path, *sweep)
    assert (again.code, again.out.count("has a record") + again.err.count("has a record")) == (0, 3), again
    records = [read_json(path) for path in tmp_path.glob("runs/*/record.json")]
    halved = next(each for each in records if each["config"]["correction"]["name"] == "halve")
    source = digest_of(rules.Halve)
    assert halved["config"]["correction"] == {
        TARGET: "tests.outside.rules.Halve",
        SOURCE: source,
        "name": "halve",
        "part": 0.5,
    }
    client = MlflowClient(tracking_uri=uri)
    found = client.search_runs([each.experiment_id for each in client.search_experiments()])
    params = [run.data.params for run in found if run.data.params.get("correction.name") == "halve"]
    assert [(each[f"correction.{TARGET}"], each[f"correction.{SOURCE}"]) for each in params] == [
        ("tests.outside.rules.Halve", source)
    ]
    assert said(tmp_path, "report").code == 0
    table = pandas.read_csv(tmp_path / "results/runs.csv", keep_default_na=False)
    assert set(table["correction.name"]) == {"none", "halve", "shrink"}


@pytest.mark.usefixtures("without_pictures")
def test_a_users_launcher_orders_the_runs_and_a_users_tracking_hears_of_them(tmp_path: Path) -> None:
    """None of both decides what a run is; what has not been told is told by ``sync``, once."""
    words = ("--config-dir", str(CONF), *SMALL[: -len(TINY)], "batch_size=8", "partition=counted", "precision=float64")
    own_way = ("launcher=shortest_first", "tracking=journal")
    ran = said(tmp_path, "-m", *words, "epochs=3,1,2", *own_way)
    assert ran.code == 0, ran.err
    assert re.findall(r"run (\d)/3 .* epoch 1/", ran.err) == ["2", "3", "1"]
    lines = (tmp_path / "journal.txt").read_text().splitlines()
    assert sorted(lines) == [f"{name} has its record" for name in names(tmp_path)]
    assert "compare the runs:      journal.txt\n" in ran.out
    again = said(tmp_path, "-m", *words, "epochs=3,1,2", "tracking=none")
    assert (again.code, again.err.count("has a record")) == (0, 3), again.err
    (tmp_path / "journal.txt").write_text("".join(f"{line}\n" for line in lines[1:]))
    assert said(tmp_path, "sync", *words, *own_way).out == "delivered 1 runs; 2 were there already\n"


def test_a_study_chooses_among_own_choices_that_it_names() -> None:
    """Those that the run has not, too; what is no choice anywhere is told with all that are."""

    def studied(*words: str) -> Study:
        primary = TUNE.beside(str(CONF))
        return study_of(single(words, primary), primary)

    found = studied("tuning.corrections=[none,halve]", "tuning.families=[constant,sawtooth]", "tuning.conditions=none")
    assert found.named == (rates.Sawtooth(1.0, 0, 0.0, False, 0.1), rules.Halve(0.5))
    space = space_of(found, 1.0, 100, 10)
    fixed = {"gamma0": 0.01, "warmup": 0.0, "momentum": 0.8, "weight_decay": 0.001}
    run = space.study.run_of(space.suggest(FixedTrial({**fixed, "family": "sawtooth", "correction": "halve"})))
    assert (run.lr, run.correction) == (rates.Sawtooth(0.01, 0, 0.0, False, 0.1), rules.Halve(0.5))
    with pytest.raises(ConfigError, match=r"'sawtooth' is not among .*, allowed with tuning\.conditions=bound$"):
        studied("tuning.families=[sawtooth]")
    with pytest.raises(ConfigError, match=r"\['quarter'\]: allowed are null and a list of none, shrink, lr_discount"):
        studied("tuning.corrections=[quarter]")


def test_a_users_method_is_told_apart(tmp_path: Path) -> None:
    """It is, in labels, tables and records; and a record is read where its class is not there any more."""
    words = ("--config-dir", str(CONF), *SMALL, "tracking=none", "method=decoupled,patient", "method.wait=1")
    assert said(tmp_path, "-m", *words).code == 2, "decoupled has no such key"
    ran = said(tmp_path, "-m", *words[:-1])
    assert ran.code == 0, ran.err
    assert re.findall(r"K2 S1 (.*) [0-9a-f]{12} .* epoch 2/2", ran.err) == ["c2", "patient c2"]
    assert said(tmp_path, "report").code == 0
    table = pandas.read_csv(tmp_path / "results/runs.csv", keep_default_na=False)
    assert [*table["method"]] == ["decoupled", "patient"]
    record = next(
        each for name in names(tmp_path) if "patient" in str(each := read_json(tmp_path / f"runs/{name}/record.json"))
    )
    assert record["config"]["method"] == {**own("method=patient").resolved()["method"], "wait": 3}
    record["config"]["method"][TARGET] = "nowhere.Patient"
    assert hash_of(record["config"]) != record["config_hash"]
    record["config_hash"] = hash_of(record["config"])
    assert read_run(record).label == "K2 S1 patient"


def test_a_changed_source_file_is_a_new_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, file = "correction._target_=changing.rules.Halve", write_package(tmp_path / "changing")
    monkeypatch.syspath_prepend(tmp_path)
    run = own("correction=halve", target)
    before, again = run.hash(), own("correction=halve", target).hash()
    recorded = run.resolved()
    assert parse(recorded) == run
    file.write_text(file.read_text().replace("return self.part", "return self.part / 2"))
    after = own("correction=halve", target).hash()
    assert before == again != after
    assert own("correction=halve", target, "correction.part=0.25").hash() not in (before, after)
    with pytest.raises(ConfigError) as caught:
        parse(recorded)
    assert str(caught.value) == (
        f"correction._source_={recorded['correction'][SOURCE]!r}: {file} has changed since; allowed is "
        f"{own('correction=halve', target).resolved()['correction'][SOURCE]!r}, what it is now"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["correction=half"], "correction='half': allowed are halve, lr_discount, none, shrink, weight_prediction"),
        (
            ["-m", "correction=none,half"],
            "correction='half': allowed are halve, lr_discount, none, shrink, weight_prediction",
        ),
        (["correction=halve", "correction.parts=1"], "correction.parts: there is no such key; did you mean"),
        (["correction=halve", "correction.part=2"], "correction.part=2: must be less than or equal to 1"),
        (["correction=halve", "correction.part=1", "+correction.more=1"], "correction.more=1: there is no such key"),
        (["model=mlp", "optimizer=rmsprop"], "lr.gamma0: this model has no default rate for optimizer=rmsprop"),
    ],
)
def test_a_wrong_word_is_one_message_that_knows_the_users_choices(
    words: list[str], message: str, tmp_path: Path
) -> None:
    answer: Any = said(tmp_path, *words, "--config-dir", str(CONF))
    assert answer.code == 2
    assert answer.err.startswith(f"bench: {message}"), answer.err
    assert answer.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["beside the configurations", "in the folder that we are in"])
def test_a_package_is_found_where_a_user_has_it(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder but that of the tests is on the path to begin with, as for the installed command."""
    monkeypatch.setattr("sys.path", [each for each in sys.path if each])
    project, away = tmp_path / "project", tmp_path / "away"
    package = f"found_{place.split(maxsplit=1)[0]}"
    write_package((project if place.startswith("beside") else away) / package)
    shutil.copytree(CONF, project / "mine")
    words = ("correction=halve", f"correction._target_={package}.rules.Halve", "tracking=none")
    answer = said(away, *SMALL, *words, "--config-dir", str(project / "mine"))
    assert (answer.code, len(names(away))) == (0, 1), answer.err
    assert str(away) not in sys.path


def test_a_job_finds_what_its_command_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "before")
    with importable(str(tmp_path / "mine")), exported():
        path = os.environ["PYTHONPATH"].split(os.pathsep)
        assert path == [each for each in sys.path if each]
        assert path[-1] == str(tmp_path)
    assert os.environ["PYTHONPATH"] == "before"
    monkeypatch.delenv("PYTHONPATH")
    with exported():
        assert os.environ["PYTHONPATH"]
    assert "PYTHONPATH" not in os.environ
