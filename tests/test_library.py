"""The user's folder of configurations: behind the suite's, beside the user, and written to by a study."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bench.__main__ import main
from bench.keys import ConfigError
from bench.study.sweep.compose import compose, sweep
from bench.study.sweep.library import CONF, RUN
from tests.commands import ROOT, allowed

PRESET = "# @package _global_\nlr: {name: constant, gamma0: 0.25, warmup_steps: 0, staleness_power: 0.0, %s}\n"
PRESET %= "require_convergent: false"


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a choice, a preset and an experiment; we are beside it."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine" / "model/small.yaml", "name: mlp\nhidden: 8\nlayers: 2\nrates: {sgd: 0.01}\n")
    write(tmp_path / "mine" / "lr/tuned/found.yaml", PRESET)
    swept = "hydra: {sweeper: {params: {seed: '0,1', model: 'glob(small)'}}}"
    write(tmp_path / "mine" / "experiment/own.yaml", f"# @package _global_\n{swept}\nepochs: 3\n")
    return tmp_path / "mine"


def test_a_users_folder_adds_choices_presets_and_experiments(folder: Path) -> None:
    primary = RUN.beside(str(folder))
    config = compose(["model=small", "lr=tuned/found", "batch_size=8"], primary)
    assert config.model.values() == {"name": "mlp", "hidden": 8, "layers": 2}
    assert (config.lr.name, config.lr.gamma0, config.batch_size) == ("constant", 0.25, 8)
    points = sweep(["+experiment=own"], primary)
    assert [(p.config.seed, p.config.epochs, p.config.model.name) for p in points] == [(0, 3, "mlp"), (1, 3, "mlp")]
    assert primary.choices("experiment") == sorted([*RUN.choices("experiment"), "own"])


def test_a_committed_preset_is_found_beside_a_users(folder: Path) -> None:
    assert compose(["lr=tuned/digits-K2-c2-none"], RUN.beside(str(folder))) == compose(["lr=tuned/digits-K2-c2-none"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=smal"], f"model='smal': allowed are {', '.join(sorted([*allowed('model').split(', '), 'small']))}"),
        (
            ["lr=tuned/x"],
            "lr='tuned/x': allowed are tuned/digits-K2-c0-bound, tuned/digits-K2-c0-none, tuned/digits-K2-c0",
        ),
        (
            ["model=small", "model.depth=3"],
            "model.depth: there is no such key; allowed are hidden, layers, name, rates",
        ),
    ],
)
def test_messages_know_the_users_choices(folder: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(words, RUN.beside(str(folder)))
    assert str(caught.value).startswith(message)


def test_the_suites_files_win_and_never_in_silence(folder: Path) -> None:
    """Its config.yaml always wins; any other file of the user's that it shadows is refused, unless it is the same."""
    write(folder / "config.yaml", "stages: 5\n")
    write(folder / "lr/constant.yaml", (CONF / "lr/constant.yaml").read_text())
    write(folder / "lr/cosine.yaml", "name: cosine\n")
    primary = RUN.beside(str(folder))
    assert compose(["lr=constant"], primary) == compose(["lr=constant"])
    with pytest.raises(ConfigError) as caught:
        compose([], primary)
    assert str(caught.value) == (
        f"lr='cosine': the suite has such a file too, which wins over {folder}/lr/cosine.yaml; rename it"
    )


def test_the_folder_is_conf_where_none_is_named(folder: Path) -> None:
    assert RUN.beside(None) == RUN
    folder.rename(folder.with_name("conf"))
    primary = RUN.beside(None)
    assert primary.folder == folder.with_name("conf")
    assert primary.words == ["--config-dir", str(folder.with_name("conf"))]
    assert compose(["model=small"], primary).model.name == "mlp"


@pytest.mark.parametrize("place", [ROOT, ROOT / "bench"])
def test_a_checkouts_own_folder_is_the_suites(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert RUN.beside(None) == RUN == RUN.beside("conf")


@pytest.mark.parametrize("name", ["a folder", "it's", 'a "b"', "a,b", "[a]", "$a", "é~#", "a\\b", "a\\'b"])
def test_a_folder_may_have_any_name(folder: Path, name: str) -> None:
    folder.rename(folder.with_name(name))
    assert compose(["model=small"], RUN.beside(name)).model.name == "mlp"


@pytest.mark.parametrize("verb", [[], ["tune"], ["rates"], ["report"], ["predict"], ["data"], ["sync"]])
def test_a_folder_that_is_not_there_is_one_message(
    verb: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*verb, "--config-dir", "nowhere"]) == 2
    assert capsys.readouterr().err == "bench: --config-dir='nowhere': there is no such folder\n"
    assert not list(tmp_path.iterdir())


def test_a_verb_composes_with_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rates", "--config-dir", folder.name, "lr=tuned/found", "model=small"]) == 0
    assert "0.25" in capsys.readouterr().out


IS_WRONG = {
    "a: [1\n": 'while parsing a flow sequence in "',
    "a:\n\t- b\n": "while scanning for the next token found character",
    "a: 1\na: 2\n": "while constructing a mapping in",
    "a: !!python/object/apply:os.getcwd []\n": "could not determine a constructor for the tag",
    "5\n": "Invalid loaded object type: int",
    "a: \udcff\n": "'utf-8' codec can't decode byte 0xff",
    "a: &x [*x]\n": "a file of these refers to itself",
    "defaults: [own]\n": "a file of these refers to itself",
    "hydra: null\n": "of hydra, a file may set hydra.sweeper.params alone",
    "hydra: {sweeper: null}\n": "of hydra, a file may set hydra.sweeper.params alone",
}


@pytest.mark.parametrize(("text", "message"), IS_WRONG.items())
@pytest.mark.parametrize("multirun", [[], ["-m"]])
def test_a_users_file_that_is_none_is_one_message(
    text: str, message: str, multirun: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "experiment/own.yaml").write_bytes(f"# @package _global_\n{text}".encode(errors="surrogateescape"))
    assert main([*multirun, "+experiment=own", "--config-dir", "mine"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"bench: +experiment=own: {message}"), said
    assert said.count("\n") == 1


def test_hydras_search_path_adds_folders(folder: Path) -> None:
    """For groups, globs, experiments and messages; behind the user's own folder, which stays."""
    write(folder.parent / "more/model/other.yaml", "name: mlp\nhidden: 4\nlayers: 1\nrates: {sgd: 0.01}\n")
    write(folder.parent / "more/experiment/more.yaml", "# @package _global_\nepochs: 5\n")
    path = f"hydra.searchpath=[file://{folder.parent / 'more'}]"
    config = compose([path, "model=other", "+experiment=more"])
    assert (config.model.values()["hidden"], config.epochs) == (4, 5)
    both = sweep([path, "model=other,small"], RUN.beside(str(folder)))
    assert [point.config.model.values()["hidden"] for point in both] == [4, 8]
    assert len(sweep([path, "model=glob(o*)"])) == 1
    with pytest.raises(ConfigError) as caught:
        compose([path, "model=none"])
    assert str(caught.value).startswith("model='none': allowed are gpt, mlp, other, resnet")


@pytest.mark.parametrize("value", ["[file:///nowhere]", "[pkg://bench]", "5", "[", "[file:///,nowhere]"])
def test_a_search_path_that_is_none_is_one_message(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in ([], ["-m"], ["--cfg", "job"]):
        assert main([*words, f"hydra.searchpath={value}"]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"bench: hydra.searchpath={value}: "), said
        assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_composed_configuration_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As Hydra prints it, and composed from the user's folder too; nothing is run or written."""
    before = sorted(folder.parent.rglob("*"))
    assert main(["--cfg", "job", "model=small", "stages=4", "--config-dir", "mine"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["stages"], printed["model"]["hidden"], printed["model"]["rates"]) == (4, 8, {"sgd": 0.01})
    assert printed["lr"]["gamma0"] == "${model.rates.${optimizer.name}}"
    assert "hydra" not in printed
    assert sorted(folder.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stages=1,2"], "stages=1,2: several values are a sweep, which needs -m"),
        (["-m", "stages=1,2"], "--cfg=job: prints one run's configuration; allowed is a run, without -m"),
        (["model=none"], "model='none': allowed are gpt, mlp"),
    ],
)
def test_what_is_no_run_is_not_printed(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cfg", "job", *words]) == 2
    assert capsys.readouterr().err.startswith(f"bench: {message}")
