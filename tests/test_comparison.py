"""What may be compared with what: every key of a configuration, every group, and every pair that is shown."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from bench.config import WITHOUT_RESULT, RunConfig
from bench.record.folder import flatten
from bench.study.compare.contenders import CONTENDERS, PIPELINES, WORKLOAD
from bench.study.report.comparison import LENGTH, REPEAT, WAYS, is_of, shared
from bench.study.report.group import groups_of, workloads_of
from bench.study.report.pairing import Speeds
from bench.study.report.quality_table import quality_table
from bench.study.report.result import Run, read_run
from bench.study.report.terminal import summary
from bench.study.report.throughput import throughput_table
from bench.study.sweep.compose import compose
from bench.study.verbs.benchmark import RATIOS
from tests.commands import ROOT
from tests.records import MARGIN, record_of
from tests.tiny import VALUES, config

MLP = {"name": "mlp", "hidden": 8, "layers": 12}
GOSSIP = {"name": "gossip", "graph": "ring"}
SHRINK = {"name": "shrink", "beta": 0.5}
OTHER: dict[str, list[dict[str, Any]]] = {
    # Ways to train.
    "stages": [{"stages": 3}],
    "replicas": [{"replicas": 2}],
    "staleness": [{"staleness": 1}],
    "method": [{"method": method, "microbatches": 4} for method in PIPELINES],
    "microbatches": [{"method": "gpipe", "microbatches": 2}],
    "weights": [{"weights": "latest"}, {"weights": "recomputed"}],
    "averaging": [{"replicas": 2, "averaging": {**GOSSIP, "graph": graph}} for graph in ("ring", "complete")],
    "correction": [
        {"correction": {"name": name, **keys}}
        for name, keys in (("shrink", {"beta": 0.5}), ("lr_discount", {"until": 0.5}), ("weight_prediction", {}))
    ],
    "clip": [{"clip": {"name": name, "norm": 1.0}} for name in ("stage", "network")],
    "lr.staleness_power": [{"lr": {**VALUES["lr"], "staleness_power": power}} for power in (0.5, 1.0)],
    "flush_every": [{"flush_every": 4}],
    "partition": [{"partition": "measured"}, {"partition": [4]}],
    "backend": [{"backend": "gloo"}],
    "engine": [{"engine": "reference"}],
    # The work.
    "model": [{"model": {**MLP, "hidden": 9}}, {"model": {"name": "resnet", "depth": 8, "width": 4}}],
    "data": [{"data": {**VALUES["data"], "train_size": 97}}, {"data": {"name": "digits"}}],
    "optimizer": [
        {"optimizer": {"name": "adamw", "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.0}},
        {"optimizer": {**VALUES["optimizer"], "momentum": 0.8}},
    ],
    "lr": [{"lr": {**VALUES["lr"], "gamma0": 0.06}}, {"lr": {**VALUES["lr"], "name": "cosine"}}],
    "epochs": [{"epochs": 3}],
    "max_steps": [{"max_steps": 5}],
    "loss_limit": [{"loss_limit": 99.0}],
    "batch_size": [{"batch_size": 8}],
    "device": [{"device": "cuda"}],
    "precision": [{"precision": "float32"}],
    "channels_last": [{"channels_last": True}],
}
"""What a run differs in from the usual, for every key but the seed: that key, and what comes with it."""
LEARNED_ALIKE = {*WAYS}
AS_FAST = {*WAYS, *LENGTH} - {"engine"}
"""Keys in which runs may differ whose speeds are compared; the oracle's is not."""


def run(speed: float = 100.0, accuracy: float = 0.9, **keys: Any) -> Run:
    return read_run(record_of(config(**{"model": MLP, **keys}), speed, [accuracy]))


def test_every_key_is_known() -> None:
    """A new one is the work until it is said to be a way, and belongs here either way."""
    fields = {field.name for field in dataclasses.fields(RunConfig)} - {REPEAT, *WITHOUT_RESULT}
    assert fields | {"lr.staleness_power"} == OTHER.keys()
    groups = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()} - {"contender", "experiment"}
    assert groups <= {*OTHER, *WITHOUT_RESULT}
    assert {*WAYS, *LENGTH} <= OTHER.keys()
    assert not {*WAYS} & {*LENGTH}


@pytest.mark.parametrize("key", OTHER)
def test_every_key_is_a_way_to_train_or_the_work(key: str) -> None:
    """A run with staleness that differs in it from the run at K=S=1, and whether it is compared with that."""
    plain = {"stages": 2, "staleness": 2}
    for changes in OTHER[key]:
        other = run(150.0, 0.8, **{**plain, **changes})
        replicas = other.keys["replicas"]
        alone, together = run(seed=0), run(replicas=replicas)
        runs = [other, alone, *([together] if replicas > 1 else [])]
        accuracies = quality_table(runs, MARGIN).to_dict("records")
        (row,) = (row for row in accuracies if row["runs"] == other.name)
        assert (row["difference"] == pytest.approx(-0.1)) == (key in LEARNED_ALIKE), changes
        (row,) = (row for row in throughput_table(runs).to_dict("records") if row["runs"] == other.name)
        assert (row["over_single"] == 1.5) == (key in AS_FAST), changes
        assert ("1.50" in summary(runs)) == (key in AS_FAST), changes
        assert len(workloads_of(runs, lambda one: one.workload)) == (1 if key in LEARNED_ALIKE else 2)


@pytest.mark.parametrize("key", OTHER)
def test_what_differs_is_told_apart(key: str) -> None:
    """It is by the first columns of every table, and by titles and labels in pictures; corrected rows were not."""
    for changes in OTHER[key]:
        grid = {"stages": 2, "staleness": 2, **({"replicas": changes["replicas"]} if "averaging" in changes else {})}
        runs = [run(**grid), run(**{**grid, **changes})]
        table = quality_table(runs, MARGIN)
        rows = table[table.columns[: list(table.columns).index("n")]].values.tolist()
        assert rows[0] != rows[1], changes
        first, second = (line.partition("100 |")[0] for line in summary(runs).splitlines()[2:4])
        assert first != second, changes
        panels = workloads_of(runs, lambda one: one.workload)
        assert len({title + group.label for title, members in panels for group in groups_of(members)}) == 2, changes


def test_the_seed_is_the_repeat() -> None:
    runs = [
        run(100.0, 0.9),
        run(200.0, 0.7, seed=1),
        run(150.0, 0.8, stages=2, seed=0),
        run(280.0, 0.6, stages=2, seed=1),
    ]
    accuracies, throughputs = quality_table(runs, MARGIN).to_dict("records"), throughput_table(runs).to_dict("records")
    assert [row["n"] for row in accuracies] == [row["n"] for row in throughputs] == [2, 2]
    assert throughputs[1]["over_single"] == pytest.approx(math.sqrt(1.5 * 1.4), rel=1e-5)
    assert accuracies[1]["difference"] == pytest.approx(-0.1)


def test_corrected_runs_have_baselines() -> None:
    """The rows of a sweep over corrections had neither a difference nor a speed-up."""
    points = [
        (1, {}),
        *((2, {"correction": one}) for one in ({"name": "none"}, SHRINK, {"name": "lr_discount", "until": 0.5})),
    ]
    runs = [
        run(100.0 * stages, 1 - 0.1 * stages - 0.01 * seed, stages=stages, staleness=2, seed=seed, **keys)
        for seed in (0, 1)
        for stages, keys in points
    ]
    single, *corrected = quality_table(runs, MARGIN).to_dict("records")
    assert math.isnan(single["difference"])
    assert [row["difference"] for row in corrected] == pytest.approx([-0.1] * 3)
    assert [row["over_single"] for row in throughput_table(runs).to_dict("records")][1:] == [2.0] * 3
    assert len(workloads_of(runs, lambda one: one.workload)) == 1


def test_of_several_baselines_the_most_alike_is_taken() -> None:
    """Locked replicas that gossip are what gossip costs; the same schedule, before any other."""
    pair = {"stages": 2, "replicas": 2}
    locked, gossiping = run(100.0, **pair), run(80.0, **pair, averaging=GOSSIP)
    stale, other = run(160.0, **pair, staleness=2), run(160.0, **pair, staleness=2, averaging=GOSSIP)
    speeds = Speeds([locked, gossiping, stale, other])
    assert [speeds.over("locked", [one]).others for one in (stale, other)] == [[locked], [gossiping]]
    slow: dict[str, Any] = {"lr": {**VALUES["lr"], "gamma0": 0.01}}
    singles = [run(100.0), run(50.0, **slow)]
    asked = [run(150.0, stages=2, staleness=2), run(150.0, stages=2, staleness=2, **slow)]
    for first, second in (singles, singles[::-1]):
        speeds = Speeds([first, second, *asked])
        assert [speeds.over("single", [one]).others for one in asked] == [[one] for one in singles]


def test_clipped_runs_are_compared_with_as_large_gradients() -> None:
    """What a network of one stage calls the stage's norm is the network's; without one, with gradients as they come."""
    clip = {"name": "network", "norm": 1.0}
    plain, single = run(100.0, 0.9), run(90.0, 0.8, clip=clip)
    stale, other = (run(150.0, 0.7, stages=2, staleness=2, clip={**clip, "norm": norm}) for norm in (1.0, 2.0))
    for runs in ([plain, single, stale, other], [single, plain, other, stale]):
        rows = {row["runs"]: row for row in quality_table(runs, MARGIN).to_dict("records")}
        assert rows[stale.name]["difference"] == pytest.approx(-0.1)
        assert Speeds(runs).over("single", [stale]).others == [single]
    assert Speeds([plain, other]).over("single", [other]).others == [plain]


def test_accuracy_is_compared_with_plain_back_propagation() -> None:
    """It is compared with replicas that average gradients; gossip without staleness is itself a way to be compared."""
    averaged, gossiping = run(replicas=2, accuracy=0.9), run(replicas=2, accuracy=0.8, averaging=GOSSIP)
    stale = run(stages=2, replicas=2, staleness=2, accuracy=0.7, averaging=GOSSIP)
    rows = {row["runs"]: row for row in quality_table([gossiping, stale, averaged], MARGIN).to_dict("records")}
    assert rows[gossiping.name]["difference"] == pytest.approx(-0.1)
    assert rows[stale.name]["difference"] == pytest.approx(-0.2)


def test_names_of_groups_hold_for_their_keys() -> None:
    keys = {"lr.gamma0": 0.1, "lr.staleness_power": 1.0, "stages": 2, "model.name": "mlp"}
    assert is_of("model.name", ("model",))
    assert not is_of("lr.gamma0", WAYS)
    assert is_of("lr.staleness_power", WAYS)
    assert shared(keys, "lr", "stages") == shared({"model.name": "mlp"}) != shared(keys, *WAYS)


def test_the_benchmarks_contenders_do_the_same_work() -> None:
    """They train on as many images an update, but for four replicas; and but for the one with another memory layout."""
    configs = {name: compose([*WORKLOAD, *overrides]) for name, overrides in CONTENDERS.items()}
    apart = (REPEAT, *WAYS, *LENGTH, "batch_size")
    works = {name: shared(flatten(config.canonical()), *apart) for name, config in configs.items()}
    odd = {name for name, work in works.items() if work != works["FDG"]}
    assert odd == {"one core, contiguous"}
    assert {name for name, one in configs.items() if one.batch_size * one.replicas != 64} == {"four replicas"}
    assert {name for pair in RATIOS for name in pair} <= CONTENDERS.keys()
