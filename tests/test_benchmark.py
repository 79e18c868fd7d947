"""The benchmark's arithmetic, on figures worked by hand."""

from __future__ import annotations

import csv
import math
import threading
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bench.__main__ import main
from bench.config import RunConfig
from bench.engine.measure import plain
from bench.engine.measure.ceiling import cuts_of, stage_alone
from bench.engine.measure.minimal import Minimal, minimal_loop
from bench.engine.measure.update import Update
from bench.engine.numerics import Numerics
from bench.engine.weights.versions import Weights
from bench.plan.interval import ratio
from bench.study.compare.checkpoint_cost import CHECKPOINTED, checkpointed, measure_checkpoints, turn
from bench.study.compare.contenders import CONTENDERS, PIPELINES, PREDICTED, WORKLOAD, Measurement, Prediction
from bench.study.compare.oracles import oracles
from bench.study.sweep.compose import compose
from bench.study.verbs import benchmark
from bench.study.verbs.benchmark import BEST, RATIOS, asked_of, check_following, report
from bench.system.call import Call, results
from bench.system.signals import Interrupted
from bench.task.classification import IMAGES
from tests import tiny
from tests.commands import read_json
from tests.tiny import method_of

TINY = ("data.train_size=64", "data.test_size=8", "data.shape=[3,8,8]", "batch_size=4")
SMALL = ("model.depth=8", "model.width=4")
MACHINE = {"cpu": "a CPU", "cores": 2, "torch": "2.14.1"}


@pytest.mark.usefixtures("without_pictures")
def test_two_oracles_at_once_train_as_many_images_each(tmp_path: Path) -> None:
    config = compose([*WORKLOAD, *CONTENDERS["two oracles"], *TINY, *SMALL, "max_steps=2"])
    assert oracles(config, 2, tmp_path) > 0
    records = [read_json(path) for path in tmp_path.glob("runs/*/record.json")]
    assert [(record["config"]["engine"], record["epochs"][-1]["step"]) for record in records] == [("reference", 2)] * 2


def test_ratio_of_a_textbook_sample() -> None:
    """Logarithms 1, 2, 3: mean 2, standard deviation 1, and t(0.975, 2) = 4.302653 (Student's table)."""
    interval = ratio([math.exp(1), 2 * math.exp(2), 3 * math.exp(3)], [1, 2, 3])
    half = 4.302653 / math.sqrt(3)
    assert interval.mean == pytest.approx(math.exp(2))
    assert math.log(interval.low) == pytest.approx(2 - half, rel=1e-6)
    assert math.log(interval.high) == pytest.approx(2 + half, rel=1e-6)
    assert interval.n == 3


def test_equal_ratios_have_no_width_whatever_the_drift() -> None:
    interval = ratio([2.0, 20.0, 200.0], [1.0, 10.0, 100.0])
    assert interval[:3] == pytest.approx((2.0, 2.0, 2.0))


def test_one_pair_has_no_interval() -> None:
    interval = ratio([3.0], [2.0])
    assert (interval.mean, interval.n) == (1.5, 1)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


@pytest.mark.parametrize("verb", ["benchmark", "gpu"])
def test_no_rounds_are_no_benchmark(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--rounds=0"]) == 2
    assert capsys.readouterr().err == "bench: --rounds=0: must be at least 1\n"


@pytest.mark.parametrize("name", CONTENDERS)
def test_contenders_do_the_same_work(name: str) -> None:
    config = compose([*WORKLOAD, *CONTENDERS[name]])
    reference = compose([*WORKLOAD, *CONTENDERS["one core"]])
    assert (config.model, config.data) == (reference.model, reference.data)
    assert config.batch_size * config.replicas == reference.batch_size * (4 if name == "four replicas" else 1)
    assert {name for pair in RATIOS for name in pair} | set(PREDICTED) <= set(CONTENDERS)


def checkpoints_in(*rounds: int) -> list[Measurement]:
    """One and a half seconds in each round: 0.25% of ten minutes."""
    names = [turn(name) for name in CHECKPOINTED]
    return [Measurement(number, name, 100.0, checkpoint_seconds=1.5) for number in rounds for name in names]


def test_checkpoints_are_measured_of_so_many_parameters() -> None:
    words = checkpointed(["precision=bfloat16"])
    own, large = (compose(words[turn(name)]) for name in CHECKPOINTED)
    assert (own.precision, large.precision) == ("bfloat16", "float32")
    network = tiny.network_of(large.model, (3, 32, 32), 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(25e6, rel=0.02)


def test_the_cost_of_a_checkpoint_is_measured(tmp_path: Path) -> None:
    words = [*checkpointed([*TINY, *SMALL])[turn("FDG")], "engine=reference"]
    found = measure_checkpoints(0, "checkpoints of FDG", compose(words), tmp_path)
    assert found.checkpoint_seconds is not None
    assert found.checkpoint_seconds > 0


def test_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine slows down by half after round 0: the ratios do not see it."""
    monkeypatch.chdir(tmp_path)
    speeds = dict.fromkeys(CONTENDERS, 100.0) | {"FDG": 195.0, "locked": 97.5}
    speeds |= {"gpipe, 8 microbatches": 130.0, "plain 1f1b, 4 microbatches": 120.0}
    busy = dict.fromkeys(CONTENDERS, 0.002) | {"FDG, K=4": 0.0021, "four replicas": 0.0022}
    measurements = [
        Measurement(round_number, name, speed / (1 + round_number), 0.98, 0.02, 3.0, 0.001, busy[name])
        for round_number in (0, 1)
        for name, speed in speeds.items()
    ]
    measurements += checkpoints_in(0, 1)
    predictions = [
        Prediction(round_number, name, 1.05 * speeds[name] / (1 + round_number), 0.49)
        for round_number in (1, 0)
        for name in PREDICTED
    ]
    report(measurements, predictions, compose([]), MACHINE)
    with Path("results/benchmark.csv").open() as file:
        rows = {row["figure"]: row for row in csv.DictReader(file)}
    assert rows["FDG / one core"] == {
        "figure": "FDG / one core",
        "mean": "1.95",
        "low": "1.95",
        "high": "1.95",
        "n": "2",
        "asked": "1.95",
        "at_most": "",
        "cpu": "a CPU",
        "cores": "2",
        "torch": "2.14.1",
    }
    assert float(rows["FDG / locked"]["mean"]) == 2.0
    for best, mean in (("gpipe, 8 microbatches", "1.5"), ("plain 1f1b, 4 microbatches", "1.625")):
        assert (rows[f"FDG / {best}"]["mean"], rows[f"FDG / {best}"]["asked"]) == (mean, "1.35")
    assert float(rows["FDG again / FDG"]["mean"]) == pytest.approx(100 / 195, abs=1e-4)
    assert float(rows["FDG, K=4 / one core: processor time"]["mean"]) == 1.05
    assert float(rows["four replicas / one core: processor time"]["mean"]) == 1.1
    assert float(rows["FDG: efficiency"]["mean"]) == 0.98
    assert float(rows["FDG: following the run / training time"]["mean"]) == 0.001
    for name in CHECKPOINTED:
        assert float(rows[f"{name}: seconds of a checkpoint"]["mean"]) == 1.5
        row = rows[f"{name}: checkpoints / training time"]
        assert (row["mean"], row["asked"]) == ("0.0025", "0.02")
    for name in PREDICTED:
        row = rows[f"{name}: predicted / measured"]
        assert (row["mean"], row["n"], row["asked"], row["at_most"]) == ("1.05", "2", "0.9", "1.1")
    assert rows["FDG: predicted / measured efficiency"]["mean"] == "0.5"


def test_a_round_that_is_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark that was ended in its third round had nothing to show for an hour."""
    monkeypatch.chdir(tmp_path)

    def measure(number: int, name: str, *_: Any) -> Measurement:
        if number == 2:
            raise Interrupted
        return Measurement(number, name, 100.0, 0.98, 0.02, 3.0, 0.001, 0.002, 1.5)

    answers = {
        "warm_up": lambda: None,
        "whole_command": lambda *_: None,
        "measure_contender": measure,
        "measure_checkpoints": measure,
        "predict_contenders": lambda number, _: [Prediction(number, name, 105.0, 0.98) for name in PREDICTED],
    }
    for name, answer in answers.items():
        monkeypatch.setattr(f"bench.study.verbs.benchmark.{name}", answer)
    with pytest.raises(Interrupted):
        benchmark.main(Namespace(overrides=["model=gpt", "data=markov"], rounds=3, config_dir=None))
    with Path("results/benchmark-gpt.csv").open() as file:
        rows = {row["figure"]: row for row in csv.DictReader(file)}
    row = rows["FDG: efficiency"]
    assert (row["mean"], row["n"], row["asked"]) == ("0.98", "2", "0.97")


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], [1.95, 1.9, 1.0, 1.35, 1.35, 0.97, None]),
        (["precision=bfloat16"], [1.9, 1.85, 1.0, 1.3, 1.3, 0.97, None]),
        (["precision=float64"], [None] * 7),
        (["model=vgg"], [None] * 7),
        (["model=gpt", "data=markov"], [1.85, None, None, 1.3, 1.3, 0.97, None]),
    ],
)
def test_what_is_asked_depends_on_network_and_precision(words: list[str], asked: list[float | None]) -> None:
    others = ["one core", "locked", "DDP", *BEST.values()]
    figures = [*(f"FDG / {other}" for other in others), "FDG: efficiency", "FDG again / FDG"]
    assert [asked_of(compose(words), figure) for figure in figures] == asked


def test_a_minimal_loop_trains() -> None:
    for precision in ("float32", "bfloat16"):
        config = compose([*WORKLOAD, *TINY, *SMALL, "stages=1", "max_steps=2", f"precision={precision}"])
        assert minimal_loop(config).units_per_second > 0


@pytest.mark.parametrize("method", PIPELINES)
def test_a_plain_pipeline_trains_as_the_minimal_loop_does(method: str, tmp_path: Path) -> None:
    """There is no batch norm, which would see a microbatch at a time."""
    network = ["model=mlp", "model.hidden=8", "model.layers=3", "precision=float64"]
    config = compose([*WORKLOAD, *TINY, *network, f"method={method}", "microbatches=2", "max_steps=2"])
    first, second = _plain(config, [1, 2, 3] if config.pieces == 4 else [2], tmp_path)
    whole = minimal_loop(replace(config, stages=1, method=method_of("ddp"), max_steps=plain.WARM_UP + 2))
    assert first.units_per_second > 0
    losses = [stage.loss for stage in (first, second) if stage.loss is not None]
    assert losses == [pytest.approx(whole.loss, rel=1e-12)]


def test_a_plain_pipeline_may_be_cut_inside_residual_blocks(tmp_path: Path) -> None:
    """Zero bubble detaches in place what a piece hands on, which must be no view and nothing that a layer has saved."""
    config = compose([*WORKLOAD, *TINY, *SMALL, "method=zero_bubble", "microbatches=2", "max_steps=1"])
    assert min(stage.units_per_second for stage in _plain(config, [2, 4, 6], tmp_path)) > 0


def _plain(config: RunConfig, cuts: list[int], place: Path) -> list[Minimal]:
    return results([Call(plain.plain_pipeline, config, cuts, rank, place / "store") for rank in range(2)])


def test_a_costly_mirror_fails_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    figures = (100.0, 0.98, 0.02, 3.0, 0.006, 0.002)
    measurements = [Measurement(number, name, *figures) for number in (0, 1) for name in CONTENDERS]
    measurements += checkpoints_in(0, 1)
    predictions = [Prediction(number, name, 100.0, 0.98) for number in (0, 1) for name in PREDICTED]
    with pytest.raises(AssertionError, match=r"^to follow a run took 0\.60% of its training time"):
        check_following(report(measurements, predictions, compose([]), MACHINE))


def test_stages_that_compute_alone_are_as_fast_as_the_slowest() -> None:
    """The ceiling of a network whose second stage has almost all of the work is that stage's speed."""
    config = compose([*WORKLOAD, *TINY, *SMALL, "partition=counted", "batch_size=16"])
    cuts = cuts_of(config)
    assert len(cuts) == 1
    speeds = [stage_alone(config, [1], stage, threading.Barrier(1), steps=20) for stage in range(2)]
    assert 0 < speeds[1] < speeds[0]


@pytest.mark.parametrize("last", [False, True])
def test_what_is_measured_is_the_update_that_a_worker_makes(last: bool) -> None:
    """As one layer and layer by layer, with the gradient that autograd finds; at a rate of 0 no weight moves."""
    run, numerics = tiny.config(), Numerics(torch.device("cpu"), torch.float64, False, False, IMAGES)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    x, targets = torch.randn(6, 5, dtype=torch.float64), torch.arange(6) % 3 if last else None
    output = network(x)
    loss = output.sum() if targets is None else nn.functional.cross_entropy(output, targets)
    expected = torch.cat([part.flatten() for part in torch.autograd.grad(loss, [*network.parameters()])])
    for whole in (True, False):
        weights = Weights(network, 2)
        before = weights.current.clone()
        update = Update(run, numerics, weights, whole)
        for flight, times in ((0, 4), (1, 0), (1, 4)):
            assert len(update(x.requires_grad_(), targets, flight)) == times
        forward, backward, collect, step = update(x, targets, 1)
        assert len(forward) == len(backward) == (1 if whole else 3)
        assert len(collect) == len(step) == 1
        torch.testing.assert_close(weights.gradient, expected)
        assert torch.equal(weights.current, before)
