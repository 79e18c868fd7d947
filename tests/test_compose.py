"""From overrides to configurations: groups, sweeps, committed experiments."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bench.keys import ConfigError
from bench.study.sweep.compose import compose, single, sweep
from bench.study.sweep.composition import composed
from bench.study.sweep.grammar import GRAMMAR
from bench.study.sweep.library import CONF, RUN
from bench.study.tune.study import TUNE, study_of
from tests.commands import allowed

SETS = {"experiment", "contender"}
"""Folders of whole points, which are added to a run and are no keys of it."""
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in SETS)
EXPERIMENTS = sorted((CONF / "experiment").glob("*.yaml"))


def _grid(*overrides: str) -> list[tuple[int, int, int]]:
    return [(point.config.stages, point.config.replicas, point.config.staleness) for point in sweep(overrides)]


GRID = [(1, 1, 0), (1, 2, 0), (2, 1, 0), (2, 1, 1), (2, 1, 2), (2, 2, 0), (2, 2, 1), (2, 2, 2)]


def test_a_sweep_is_the_product_in_order_without_equivalents() -> None:
    assert _grid("stages=1,2", "replicas=1,2", "staleness=0,1,2") == GRID


def test_a_key_that_is_given_twice_has_the_place_of_the_last() -> None:
    words = ("replicas=1", "stages=2,3", "replicas=2,1")
    assert _grid(*words, "staleness=1") == [(2, 2, 1), (2, 1, 1), (3, 2, 1), (3, 1, 1)]


def test_an_experiment_brings_its_sweep() -> None:
    points = sweep(["+experiment=grid"])
    assert [(p.config.stages, p.config.replicas, p.config.staleness) for p in points[: len(GRID)]] == GRID
    assert points[3].overrides == ("stages=2", "replicas=1", "staleness=1", "seed=0")
    assert len(points) == 5 * len(GRID)
    assert {point.config.epochs for point in points} == {5}


def test_the_command_line_overrides_an_experiment() -> None:
    """Its sweep comes first, so that it changes slowest."""
    assert _grid("+experiment=grid", "seed=7", "stages=3", "staleness=4,1") == [
        (3, 1, 4),
        (3, 2, 4),
        (3, 1, 1),
        (3, 2, 1),
    ]
    assert sweep(["+experiment=grid", "stages=1", "epochs=7"])[0].config.epochs == 7


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("stages=range(1,4)", [1, 2, 3]),
        ("stages=choice(3,1)", [3, 1]),
        ("stages=4", [4]),
        ("stages=2,2", [2]),
    ],
)
def test_hydras_ways_to_write_a_sweep(written: str, expected: list[int]) -> None:
    assert [point.config.stages for point in sweep([written])] == expected


def test_lists_are_swept() -> None:
    points = sweep(["stages=3", "partition=[2,4],[3,5],counted"])
    assert [point.config.partition for point in points] == [[2, 4], [3, 5], "counted"]


def test_repeats_are_interleaved() -> None:
    """Every repeat has all points, the first in the product's order, the others each in an order of its own."""
    points = sweep(["stages=1,2,3", "staleness=1,2", "seed=0,1,2"])
    rounds = [[(p.config.stages, p.config.canonical()["staleness"]) for p in points[n : n + 5]] for n in (0, 5, 10)]
    assert [{p.config.seed for p in points[n : n + 5]} for n in (0, 5, 10)] == [{0}, {1}, {2}]
    assert rounds[0] == [(1, 0), (2, 1), (2, 2), (3, 1), (3, 2)]
    assert {tuple(sorted(order)) for order in rounds} == {tuple(rounds[0])}
    assert len({tuple(order) for order in rounds}) == 3


def test_a_point_knows_its_equivalents() -> None:
    single, *others = sweep(["stages=1,2", "staleness=0,1,2"])
    assert single.overrides == ("stages=1", "staleness=0")
    assert single.equivalents == (("stages=1", "staleness=1"), ("stages=1", "staleness=2"))
    assert [point.equivalents for point in others] == [(), (), ()]


def test_a_point_is_what_hydra_alone_would_compose() -> None:
    """Only the groups are composed for each; values are put in, interpolations among them follow."""
    fixed = ["model=mlp", "batch_size=${epochs}"]
    points = sweep([*fixed, "epochs=3,4", "optimizer=sgd,adamw", "model.hidden=8,9", "partition=[2],counted"])
    assert len(points) == 16
    for point in points[::5]:
        assert point.config == compose([*fixed, *point.overrides])


def test_groups_are_swept() -> None:
    points = sweep(["model=mlp,vgg", "optimizer=adamw,sgd"])
    names = [(point.config.model.name, point.config.optimizer.name) for point in points]
    assert names == list(itertools.product(("mlp", "vgg"), ("adamw", "sgd")))


def test_every_option_composes() -> None:
    """Options are composed as many groups at a time as there are: composing takes a quarter of a second."""
    options = {group: sorted(file.stem for file in (CONF / group).glob("*.yaml")) for group in GROUPS}
    assert all(options.values())
    tokens = {"data": ["markov", "text"], "model": ["gpt"]}
    rows = [{"model": "gpt", "data": data} for data in tokens["data"]]
    others = [[name for name in options[group] if name not in tokens.get(group, ())] for group in GROUPS]
    for row in itertools.zip_longest(*others):
        rows.append({group: option for group, option in zip(GROUPS, row, strict=True) if option is not None})
    for chosen in rows:
        # Not every model has a rate for every optimizer.
        words = [f"{group}={option}" for group, option in chosen.items()] + ["lr.gamma0=0.1"]
        values, _ = composed(words, RUN)
        assert {group: values[group]["name"] for group in chosen} == chosen
        # Each method wants another grid, which tests of methods have.
        left_out = ("method=", "optimizer=") if chosen.get("correction") == "weight_prediction" else ("method=",)
        single([word for word in words if not word.startswith(left_out)])


def test_every_group_is_there() -> None:
    assert GROUPS == [
        "averaging",
        "clip",
        "correction",
        "data",
        "launcher",
        "lr",
        "method",
        "model",
        "optimizer",
        "tracking",
    ]


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_every_experiment_composes_and_says_how_it_is_run(file: Path) -> None:
    is_study = file.stem == "tuning"
    command = f"python -m bench {'tune ' if is_study else ''}-m +experiment={file.stem}"
    assert any(line.removeprefix("# ").startswith(command) for line in file.read_text().splitlines()[:3])
    points = sweep([f"+experiment={file.stem}"], TUNE if is_study else RUN)
    names = [study_of(point).tuning.study if is_study else point.config.hash() for point in points]
    assert len(set(names)) == len(names) > 0


def test_throughput_sweeps_every_contender() -> None:
    """Five repeats of each once, whatever means nothing to it, with as many images an update; but the first, in orders
    of their own."""
    points = sweep(["+experiment=throughput"])
    ways = [(p.config.stages, p.config.method.name, p.config.microbatches, p.config.staleness) for p in points]
    repeats = [ways[first : first + 16] for first in range(0, len(ways), 16)]
    assert [{p.config.seed for p in points[n * 16 : n * 16 + 16]} for n in range(5)] == [{n} for n in range(5)]
    pipelines = itertools.product((2,), ("gpipe", "1f1b", "interleaved_1f1b", "zero_bubble"), (2, 4, 8), (0,))
    others = [(1, "decoupled", 1, 0), (2, "decoupled", 1, 0), (2, "decoupled", 1, 2), (1, "ddp", 1, 0)]
    assert repeats[0] == [*others, *pipelines]
    assert all(sorted(repeat) == sorted(repeats[0]) for repeat in repeats)
    assert len({tuple(repeat) for repeat in repeats}) == 5
    assert {p.config.batch_size * p.config.replicas for p in points} == {64}
    assert {(p.config.data.name, p.config.precision, p.config.partition) for p in points} == {
        ("synthetic", "float32", "measured")
    }


def test_the_default_is_two_stages_of_fdg() -> None:
    config, settings = (point := single([])).config, point.settings
    assert (config.stages, config.replicas, config.staleness, config.weights) == (2, 1, 2, "stashed")
    assert (config.model.name, config.data.name, settings.tracking.name) == ("resnet", "digits", "mlflow")


CURE = "as text, the value needs quotes: "


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["epochs=2", "stages=2 é"], f"stages=2 é: 'é' is not plain text in Hydra's grammar; {CURE}'stages=\"2 é\"'"),
        (["train"], f"train: {GRAMMAR}"),
        (["=3"], "=3: a key is missing; allowed is key=value"),
        (["model=5"], f"model=5: allowed are {allowed('model')}"),
        (["lr=null"], f"lr=null: allowed are {allowed('lr')}"),
        (["optimizer=adam"], f"optimizer='adam': allowed are {allowed('optimizer')}"),
        (
            ["model.depht=9"],
            "model.depht: there is no such key; did you mean model.depth? allowed are depth, name, rates, width",
        ),
        (["stages=${steps}"], "stages=${steps}: there is no key steps"),
        (
            ["hydra.run.dir=x"],
            "hydra.run.dir=x: the suite launches by itself; allowed are the keys of conf/config.yaml",
        ),
    ],
)
def test_both_ways_say_what_is_wrong(overrides: list[str], message: str) -> None:
    ways: tuple[Callable[[Sequence[str]], object], ...] = (compose, sweep)
    for way in ways:
        with pytest.raises(ConfigError) as caught:
            way(overrides)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages=1,2", "stages=1,2: several values are a sweep, which needs -m; a list is written [a,b]"),
        ("stages=range(1,3)", "stages=range(1,3): several values are a sweep, which needs -m; a list is written [a,b]"),
        ("+experiment=grid", "stages=1,2: the experiment is a sweep, which needs -m"),
    ],
)
def test_a_sweep_needs_its_flag(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([override])
    assert str(caught.value) == message


def test_an_experiment_with_nothing_left_to_sweep_is_one_run() -> None:
    config = compose(["+experiment=grid", "stages=2", "replicas=1", "staleness=1", "seed=0"])
    assert (config.stages, config.replicas, config.staleness) == (2, 1, 1)


def test_one_wrong_point_refuses_the_sweep() -> None:
    with pytest.raises(ConfigError, match=r"^stages=0: must be greater than or equal to 1$"):
        sweep(["stages=1,0"])
