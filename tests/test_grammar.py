"""Hydra's grammar on the command line: every sweep of it is Hydra's own; what cannot be read is told with its cure."""

from __future__ import annotations

import random
import shlex
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.keys import ConfigError
from bench.study.sweep.compose import MOST_POINTS, compose, single, sweep
from bench.study.sweep.grammar import GRAMMAR, SWEEPS, parse_overrides, size, spell_out
from bench.study.sweep.library import CONF, RUN
from tests.commands import allowed

WRITTEN = [
    "seed=1,2,3",
    "seed=choice(3,1)",
    "seed=choice(1)",
    "seed=tag(a,b,choice(3,1))",
    "seed=range(1,4)",
    "seed=range(4)",
    "seed=range(7,1,-2)",
    "seed=range(start=1,stop=10,step=4)",
    "lr.gamma0=range(0.1,0.5,0.1)",
    "lr.gamma0=range(1,0,-0.3)",
    "lr.gamma0=float(range(1,4))",
    "seed=int(range(1.5,4.5))",
    "seed=int(1.5,2.5)",
    "lr.gamma0=float(1,2)",
    "lr.gamma0=str(0.1,0.2)",
    "channels_last=bool(true,False)",
    "seed=sort(3,1,2)",
    "seed=sort(choice(3,1,2),reverse=true)",
    "seed=sort(range(5,1,-1))",
    "seed=sort(tag(a,range(1,5)),reverse=true)",
    "seed=shuffle(1,2,3,4,5,6)",
    "seed=shuffle(choice(1,2,3,4,5,6))",
    "seed=shuffle(range(1,7))",
    "partition=[2],[3],counted",
    "partition=shuffle([1,2,3]),sort([3,1,2])",
    "runs_dir='a, b',\"c'd\",'\\'e\\'',f\\ g",
    "max_steps=null,3",
    "model=mlp,vgg",
    "model=glob(*)",
    "model=glob([m*,v*],exclude=vg*)",
    "model=glob(include=*,exclude=[resnet,v*])",
    "lr=glob(*poly*)",
    "+contender=glob(*)",
    "+experiment=glob(cifar10*)",
    "++seed=1,2",
    "~model=mlp,resnet",
]


def hydras(line: str) -> list[str]:
    """The points that Hydra's own sweeper makes of a line."""
    import hydra
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        random.seed(0)
        return [word for (word,) in BasicSweeper.split_arguments(parser.parse_overrides([line]), None)[0]]


@pytest.mark.parametrize("line", WRITTEN)
def test_every_sweep_is_hydras_own(line: str) -> None:
    expected = hydras(line)
    random.seed(0)
    (override,) = parse_overrides([line], RUN)
    assert list(spell_out(override, RUN)) == expected != []
    assert size(override, RUN) == len(expected)


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        (["seed=1,2", "seed=3"], [3]),
        (["seed=3", "seed=1,2"], [1, 2]),
        (["seed=1,2", "seed=4,3"], [4, 3]),
        (["seed=${epochs}", "epochs=1,2"], [1, 2]),
        (["seed=range(3,0,-1)"], [3, 2, 1]),
        (["seed=1,1"], [1]),
    ],
)
def test_the_points_of_a_sweep(words: list[str], seeds: list[int]) -> None:
    """The last one of a key that is given twice counts, as Hydra has it."""
    assert [point.config.seed for point in sweep(words)] == seeds


def test_a_choice_of_all_models_is_composed() -> None:
    names = [point.config.model.name for point in sweep(["model=glob(*,exclude=torchvision)"])]
    assert names == [name for name in MODELS.split(", ") if name != "torchvision"]


NOTHING = "has no value; the end of a range is not among its values"
INSIDE = f"a sweep is not part of a value, nor of another sweep; allowed are {SWEEPS}"
MODELS = allowed("model")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("stages=range(0,0)", f"stages=range(0,0): {NOTHING}"),
        ("stages=range(3,1)", f"stages=range(3,1): {NOTHING}"),
        ("seed=range(0)", f"seed=range(0): {NOTHING}"),
        ("seed=range(0,5,-1)", f"seed=range(0,5,-1): {NOTHING}"),
        ("lr.gamma0=range(0.5,0.5)", f"lr.gamma0=range(0.5,0.5): {NOTHING}"),
        ("stages=range(1,3,0)", "stages=range(1,3,0): the step of a range may not be 0"),
        ("lr.gamma0=range(0.0,1,nan)", "lr.gamma0=range(0.0,1,nan): the numbers of a range must be finite"),
        ("lr.gamma0=range(0,inf)", "lr.gamma0=range(0,inf): the numbers of a range must be finite"),
        ("stages=interval(1,3)", f"stages=interval(1,3): an interval is no list of points; allowed are {SWEEPS}"),
        (
            "stages=tag(a,interval(1,3))",
            f"stages=tag(a,interval(1,3)): an interval is no list of points; allowed are {SWEEPS}",
        ),
        ("seed=range(1,3),7", f"seed=range(1,3),7: {INSIDE}"),
        ("partition=[range(1,3)]", f"partition=[range(1,3)]: {INSIDE}"),
        ("partition=[2],[choice(1,2)]", f"partition=[2],[choice(1,2)]: {INSIDE}"),
        ("model=glob(m*),vgg", f"model=glob(m*),vgg: {INSIDE}"),
        ("model=glob(x*)", f"model=glob(x*): matches nothing; allowed are {MODELS}"),
        ("stages=glob(*)", "stages=glob(*): matches nothing; allowed are groups, as in model=glob(*)"),
        ("model=mlp,5", f"model=5: allowed are {MODELS}"),
        (
            "seed=range(0,1000000000)",
            "seed=range(0,1000000000): 1,000,000,000 points; a sweep may have at most 100,000",
        ),
        (
            "seed=sort(range(0,10000000000000000000000))",
            "seed=sort(range(0,10000000000000000000000)): 10,000,000,000,000,000,000,000 points; a sweep may have",
        ),
        ("lr.gamma0=range(0.0,1e300,1e-300)", "lr.gamma0=range(0.0,1e300,1e-300): endlessly many points; a sweep may"),
    ],
)
def test_a_sweep_without_an_end_or_a_beginning_is_one_message(line: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sweep([line])
    assert str(caught.value).startswith(message)


def test_a_product_has_a_bound() -> None:
    with pytest.raises(ConfigError) as caught:
        sweep(["seed=range(0,400)", "epochs=range(1,401)", "model=mlp,vgg"])
    product = f"320,000 points; a sweep may have at most {MOST_POINTS:,}"
    assert str(caught.value) == f"seed=range(0,400) epochs=range(1,401) model=mlp,vgg: {product}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs_dir=a,b"], "runs_dir='b' and runs_dir='a'"),
        (["tracking=mlflow,none"], "tracking.name='none' and tracking.name='mlflow'"),
        (["tracking.uri=x,y"], "tracking.uri='y' and tracking.uri='x'"),
        (["tracking.experiment=x,y"], "tracking.experiment='y' and tracking.experiment='x'"),
        (["launcher=local,submitit"], "launcher.name='submitit' and launcher.name='local'"),
        (["launcher=submitit", "launcher.minutes=1,2"], "launcher.minutes=2 and launcher.minutes=1"),
        (["force=true,false"], "force=False and force=True"),
        (["dry_run=false,true"], "dry_run=True and dry_run=False"),
        (["runs_dir=runs/${seed}", "seed=0,1"], "runs_dir='runs/1' and runs_dir='runs/0'"),
    ],
)
def test_how_runs_are_kept_and_followed_is_not_swept(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sweep(words)
    assert str(caught.value) == f"{message} in another point of the sweep; allowed is one value for all"


# ------------------------------------------------------------------------------------------------- what cannot be read
AS_TEXT = "as text, the value needs quotes: "


@pytest.mark.parametrize("character", [*"é😀~#;!&<>^`'\"()[]{}=\n\r\x00"])
@pytest.mark.parametrize("value", ["{}", "a{}b"])
def test_a_character_that_needs_quotes_is_named_with_the_cure(character: str, value: str) -> None:
    """What the message says to type has that very value."""
    text = value.format(character)
    try:
        compose([f"runs_dir={text}"])
    except ConfigError as error:
        said, _, cure = str(error).rpartition(AS_TEXT)
        assert repr(character) in said or "a bracket is not closed" in said
        (word,) = shlex.split(cure)
        assert single([word]).settings.runs_dir == text
    else:
        raise AssertionError(text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("runs_dir=~/é", f"runs_dir=~/é: '~' is not plain text in Hydra's grammar; {AS_TEXT}'runs_dir=\"~/é\"'"),
        ("runs_dir=a=b", f"runs_dir=a=b: '=' is not plain text in Hydra's grammar; {AS_TEXT}'runs_dir=\"a=b\"'"),
        ("stages=[1", f"stages=[1: a bracket is not closed, or a value is missing; {AS_TEXT}'stages=\"[1\"'"),
        ("stages=1,", f"stages=1,: a bracket is not closed, or a value is missing; {AS_TEXT}'stages=\"1,\"'"),
        ("seed=choice()", f"seed=choice(): empty choice is not legal; {AS_TEXT}'seed=\"choice()\"'"),
        ("runs_dir=run(1)", "runs_dir=run(1): Unknown function 'run' Available: bool,choice,float,glob,int,interval,"),
        ("modèle=mlp", "modèle=mlp: 'è' cannot be part of a key; allowed is key=value"),
        ("a b=1", "a b=1: ' ' cannot be part of a key; allowed is key=value"),
        ("tarin", f"tarin: {GRAMMAR}"),
        ("+", f"+: {GRAMMAR}"),
        ("model@model=mlp", "model@model=mlp: a choice has its place; allowed is model=value"),
        ("++hydra.mode=x", "++hydra.mode=x: the suite launches by itself; allowed are the keys of conf/config.yaml"),
        ("~hydra", "~hydra: the suite launches by itself; allowed are the keys of conf/config.yaml"),
        ("model=", f"model=: allowed are {MODELS}"),
        ("model=???", f"model=???: allowed are {MODELS}"),
        ("model=../config", f"model=../config: allowed are {MODELS}"),
        ("runs_dir=???", "runs_dir: a value is missing"),
    ],
)
def test_what_cannot_be_read_is_told(line: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([line])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stages=${stages}"], "stages=${stages}: it refers to itself"),
        (["stages=${replicas}", "replicas=${stages}"], "stages=${replicas}: it refers to itself"),
        (["runs_dir=x${runs_dir}"], "runs_dir=x${runs_dir}: it refers to itself"),
        (["model.depth=${model}"], "model.depth=${model}: it refers to itself"),
        (["partition=[1,'${b}']"], "partition[1]=${b}: there is no key b"),
        (["runs_dir=${oc.env:NOPE}"], "runs_dir=${oc.env:NOPE}: \"Environment variable 'NOPE' not found\""),
        (["model.depth=${nope:x}"], "model.depth=${nope:x}: Unsupported interpolation type nope"),
        (["stages=${..x}"], "stages=${..x}: Error resolving key '..x'"),
        (["runs_dir='${runs_dir'"], "runs_dir='${runs_dir': not what follows ${ in an interpolation: no viable"),
        (["runs_dir='${}'"], "runs_dir='${}': not what follows ${ in an interpolation: no viable alternative"),
    ],
)
@pytest.mark.parametrize("multirun", [False, True])
def test_a_broken_interpolation_is_told_with_its_key(words: list[str], message: str, multirun: bool) -> None:
    with pytest.raises(ConfigError) as caught:
        sweep([*words, "seed=0,1"]) if multirun else compose(words)
    assert str(caught.value).startswith(message)


# ---------------------------------------------------------------------------------------- the keys of the choice made
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=mlp", "model.depth=20"], "model.depth: there is no such key; allowed are hidden, layers, name, rates"),
        (
            ["model=mlp", "model.hiden=20"],
            "model.hiden: there is no such key; did you mean model.hidden? allowed are hidden, layers, name, rates",
        ),
        (
            ["data=synthetic", "data.image_shape=[3,8,8]"],
            "data.image_shape: there is no such key; did you mean data.shape? allowed are classes, name, shape, "
            "test_size, train_size",
        ),
        (["optimizer=adamw", "optimizer.momentum=0"], "optimizer.momentum: there is no such key; allowed are betas, "),
        (
            ["lr=onecycle", "lr.t0=3"],
            "lr.t0: there is no such key; allowed are gamma0, margin_every, name, require_convergent, rise",
        ),
        (["averaging=gossip", "averaging.grap=ring"], "averaging.grap: there is no such key; did you mean averaging.g"),
        (["correction=shrink", "correction.bta=1"], "correction.bta: there is no such key; did you mean correction.be"),
        (["tracking=none", "tracking.uri=x"], "tracking.uri: there is no such key; allowed are name"),
        (["launcher=submitit", "launcher.minute=1"], "launcher.minute: there is no such key; did you mean launcher.mi"),
        (
            ["+experiment=cifar10", "seed=0", "stages=2", "data.image_sze=3"],
            "data.image_sze: there is no such key; did you mean data.image_size? allowed are augment, folder, image_s",
        ),
        (["+contender=ddp", "model.hidden=3"], "model.hidden: there is no such key; allowed are depth, "),
        (["+model.depht=3"], "model.depht=3: there is no such key; did you mean model.depth? allowed are depth"),
        (
            ["model=vgg", "+model.width=3"],
            "model.width=3: there is no such key; did you mean model.depth? allowed are depth",
        ),
        (["+stagse=3"], "stagse=3: there is no such key; did you mean stages? allowed are averaging, backend, batch_"),
        (["stages.x=3"], "stages.x: there is no such key"),
    ],
)
def test_the_keys_that_are_told_are_those_of_the_choice(words: list[str], message: str) -> None:
    for way in (compose, sweep):
        with pytest.raises(ConfigError) as caught:
            way(words)
        assert str(caught.value).startswith(message)


def test_a_message_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs_dir=a\nb\x00"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("bench: runs_dir=a\\nb\\x00: '\\n' is not plain text in Hydra's grammar; ")
    assert message.count("\n") == 1


# ----------------------------------------------------------------------------------------------------------- odd words
KEYS = """
stages seed max_steps partition precision channels_last runs_dir force dry_run model data optimizer lr averaging
correction tracking launcher model.depth data.shape lr.gamma0 optimizer.betas tracking.uri +experiment +contender
++model.name ~model ~lr.gamma0 +lr/tuned experiment hydra hydra.run.dir model@x x.y.z model. .model model/ trials
tuning.study tuning.gamma0 é + ++ ~ @ : a:b $x ${x}
"""
VALUES = r"""
0 -1 1.5 1e400 nan inf null true ??? ${stages} ${nope:1} ${oc.env:NOPE} ${ ${a '${a' é ~ # ' " [ ] { } ( ) () [1
[1,] [,] {a:1} {a:{b:[1,2]}} {1:2} {null:1} range(0,0) range(3,1) range(0) range(1,3) range(0,1e9) range(0,10**9)
range(0,1000000000) range(0,1,0) range(1,b) interval(0,1) tag(a,interval(0,1)) glob(*) glob(x)
glob([a*,b*],exclude=c) glob() glob(1) choice() choice(1) choice(a,b) choice(range(1,2)) choice([1],[2]) sort(3,1)
sort(a,1) sort() shuffle(range(1,3)) int(a) int(1.5,2) float([1,2]) str() bool(x) bool(1,0) json_str({a:1}) mlp
../config /config mlp.yaml tuned/x digits a,b 1,2 1,,2 ,1 1, [1],[2] [range(1,2)] range(1,2),3 glob(*),a a=b == \
\\, a\\,b 😀 [[[[1]]]] 0x10 1_000 01 +1 1e3 sqlite:///x.db ${model} ${..x} ${.x} ${a.b.c} x${runs_dir}
${oc.decode:'{'} ${hydra:run.dir} ${oc.create:1} ${times:2,3} ${times:a}
"""
BLANKS = ["", " ", "a b", "\n", "\x00", "\t", "\udcff", "9" * 400]
OPTIONS = [[], [], [], ["-m"], ["-m"], ["-m"], ["--config-dir", "nowhere"], ["--config-dir"], ["--nope"], ["--"]]
VERB = [[], [], ["tune"], ["rates"], ["report"], ["sync"]]


@pytest.mark.parametrize("number", [40, pytest.param(1000, marks=[pytest.mark.full, pytest.mark.timeout(1200)])])
def test_odd_words_never_end_in_a_traceback(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and nothing written; what happens to be right is made wrong by a last word."""
    monkeypatch.chdir(tmp_path)
    draw, keys, values = random.Random(number), KEYS.split(), [*VALUES.split(), *BLANKS]
    for _ in range(number):
        words = [f"{draw.choice(keys)}={draw.choice(values)}" for _ in range(draw.choice([1, 1, 2]))]
        typed = [*draw.choice(VERB), *draw.choice(OPTIONS), *words, draw.choice(["batch_size=0", "backend=maybe"])]
        assert main(typed) == 2, typed
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n"), said.err[:7]) == ("", 1, "bench: "), typed
    assert not list(tmp_path.iterdir())
