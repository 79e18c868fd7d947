"""Clipping: by hand, the same bits in both engines, and torch's clip_grad_norm_ on the unsplit network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.config import RunConfig, hash_of, parse_recorded
from bench.engine.meter import Meter
from bench.engine.method.reference import Reference
from bench.engine.worker import Stretch
from bench.keys import ConfigError
from bench.plan.clock import Clock
from bench.rule.clip.network import NetworkClip
from bench.rule.clip.none import NoClip
from bench.rule.clip.stage import StageClip
from bench.rule.convergence import limits_of, outside_of
from bench.task.classification import IMAGES
from bench.task.dataset import Dataset
from tests import tiny
from tests.both import assert_close, assert_same, both, distributed, oracle
from tests.designs import Case, every_case, in_full
from tests.naps import NAP, napped
from tests.pool import Pool
from tests.test_baselines import configured as of_baseline
from tests.test_baselines import data
from tests.test_equality import ADAMW, SGD, arrays, configured, plain_batches, plain_optimizer
from tests.test_stability import CPU, CURVATURE, Quadratic, Shift, Zeros

NORM = 0.8
"""It cuts some of the gradients of these runs, and some it does not."""
STAGE, NETWORK = {"name": "stage", "norm": NORM}, {"name": "network", "norm": NORM}
GOSSIP = {"name": "gossip", "graph": "ring"}


def clipped(stages: int, replicas: int, **changes: Any) -> RunConfig:
    return configured(**{"stages": stages, "replicas": replicas, "clip": NETWORK, **changes})


# -------------------------------------------------------------------------------------------------------------- by hand
def test_the_factor_by_hand() -> None:
    """Norms 3 and 4 make 5; torch adds 1e-6, and never multiplies by more than 1."""
    norms = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert StageClip(2.5).factor(norms).item() == 2.5 / 5.000001
    assert NetworkClip(6.0).factor(norms).item() == 1.0
    for clip in (StageClip(2.5), NetworkClip(2.5)):
        weights = [nn.Parameter(torch.zeros(2, dtype=torch.float64)) for _ in range(2)]
        weights[0].grad, weights[1].grad = (torch.tensor(pair, dtype=torch.float64) for pair in ([3, 0], [0, -4]))
        clip.by_parameter(weights)
        factor = 2.5 / 5.000001
        assert [w.grad.tolist() for w in weights if w.grad is not None] == [[3 * factor, 0], [0, -4 * factor]]


RATE, UPDATES = 0.05, 60


@pytest.mark.parametrize("staleness", [0, 1, 2, 3])
@pytest.mark.parametrize(("clip", "norm"), [(NetworkClip, 1.0), (StageClip, 1.0), (NoClip, 0.0)])
def test_the_norm_is_that_of_the_same_batch(staleness: int, clip: Any, norm: float) -> None:
    """Two stages, each of one weight that is added, on a quadratic, against the recursion written out.

    ``g_i = h (w0 as it was c updates before + w1 as it is)`` is the gradient of both stages, taken at composite
    weights: the norm of both is ``sqrt(2) |g_i|``, whatever else the stages have had in hand when they sent it.
    """
    plain = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, "nesterov": False}
    run = tiny.config(stages=2, staleness=staleness, engine="reference", optimizer=plain)
    run = replace(run, clip=clip(norm) if norm else clip())
    modules = [Shift(1.0), Shift(1.0)]
    reference = Reference(run, Quadratic(CPU, torch.float64, False, False, IMAGES), [modules], [Zeros()], Meter(CPU))
    for tick in reference.begin(Stretch(0, UPDATES, 0, [[RATE] * UPDATES] * 2)):
        reference.step(tick)

    first, second, cut = [1.0], [1.0], list[bool]()
    for update in range(UPDATES):
        gradient = CURVATURE * (first[max(0, update - staleness)] + second[update])
        size = abs(gradient) * (2**0.5 if clip is NetworkClip else 1)
        factor = min(1.0, norm / (size + 1e-6)) if norm else 1.0
        cut.append(factor < 1)
        first.append(first[-1] - RATE * factor * gradient)
        second.append(second[-1] - RATE * factor * gradient)
    assert {*cut} == ({True, False} if norm else {False})
    assert [module.weight.item() for module in modules] == pytest.approx([first[-1], second[-1]], rel=1e-12)


# ------------------------------------------------------------------------------------------------------------- engines
def network_of_four(_: object, dataset: Dataset) -> nn.Sequential:
    """Four entries, of which the third has no weights and the second has two layers, with gradients of any size."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(dataset.input_shape[0], 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 6, 3, stride=2), nn.Tanh(), nn.Conv2d(6, 6, 1)),
        nn.Sequential(nn.ReLU(), nn.Flatten()),
        nn.Linear(54, dataset.outputs),
    )


CHOICES: dict[str, list[Any]] = {
    "stages": [2, 1, 3, 4],
    "replicas": [1, 2],
    "staleness": [2, 0, 1],
    "weights": ["stashed", "latest", "recomputed"],
    "clip": [NETWORK, STAGE],
    "optimizer": [SGD, ADAMW],
    "averaging": [{"name": "allreduce"}, GOSSIP],
}
GRIDS = list(product(CHOICES["stages"], CHOICES["replicas"]))
FEW = [grid for grid in GRIDS if grid != (4, 2)]
"""The grids of as many agents as the suite's pool has ranks."""


def possible(case: Case) -> bool:
    """Whether it is no other case's equal, and gossip has somebody to talk to."""
    stale = case.get("stages", 2) > 1 and case.get("staleness", 1) > 0
    alone = case.get("stages") == 1 and (case.get("staleness", 0) > 0 or case.get("clip", STAGE) != STAGE)
    lonely = case.get("replicas") == 1 and case.get("averaging") == GOSSIP
    return not alone and not lonely and (stale or case.get("weights", "stashed") == "stashed")


def check(pool: Pool, cases: list[Case], grid: tuple[int, int]) -> None:
    """Compare every parameter and statistic of the cases of one grid after 20 updates and a flush among them."""
    runs = [clipped(**case) for case in cases if (case["stages"], case["replicas"]) == grid]
    assert runs
    for run, (ran, expected) in zip(runs, both(pool, runs, network_of_four), strict=True):
        assert_same(ran.state, expected.state, str(run.resolved()))
        assert ran.metrics["loss/test"] == expected.metrics["loss/test"]
        assert [a["staleness"] for a in ran.agents] == [a["staleness"] for a in expected.agents]


@pytest.fixture(scope="module")
def eight() -> Iterator[Pool]:
    pool = Pool(8)
    yield pool
    pool.close()


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_both_engines_clip_alike(eight: Pool, grid: tuple[int, int]) -> None:
    """All of it; ``test_every_choice`` has clipping pair by pair with everything else."""
    check(eight, every_case(CHOICES, possible), grid)


@pytest.mark.parametrize(
    ("precision", "channels_last"), [("float32", True), *in_full(("float32", False), ("bfloat16", True))]
)
def test_every_precision_and_layout_is_clipped_alike(pool: Pool, precision: str, channels_last: bool) -> None:
    """The kernels of a convolution lie otherwise with their channels last, and their norm is added up in that order."""
    more = {"precision": precision, "channels_last": channels_last, "staleness": 2}
    runs = [clipped(2, 2, clip=clip, **more) for clip in (STAGE, NETWORK)]
    for ran, expected in both(pool, runs):
        assert_same(ran.state, expected.state)


CORRECTED: list[dict[str, Any]] = [
    {"correction": {"name": "shrink", "beta": 0.75}},
    {"correction": {"name": "lr_discount", "until": 0.6}},
    {"correction": {"name": "weight_prediction"}},
]


def test_corrections_go_with_it(pool: Pool) -> None:
    """Shrunk gradients are clipped, lesser rates are of clipped gradients, and so is the velocity that predicts."""
    runs = [clipped(3, 2, staleness=2, clip=clip, **more) for clip in (STAGE, NETWORK) for more in CORRECTED]
    for run, (ran, expected) in zip(runs, both(pool, runs, network_of_four), strict=True):
        assert_same(ran.state, expected.state, f"{run.correction} {run.clip}")


@pytest.mark.parametrize(
    ("replicas", "weights"),
    [
        (1, "stashed"),
        *in_full((2, "stashed"), (1, "latest"), (2, "latest"), (1, "recomputed"), (2, "recomputed")),
    ],
)
def test_a_norm_that_no_gradient_has_changes_nothing(pool: Pool, replicas: int, weights: str) -> None:
    """The ticks of ``clip=network`` are others, and yet every bit is that of ``clip=none``: in both engines."""
    plain = [clipped(3, replicas, staleness=c, weights=weights, clip={"name": "none"}) for c in (0, 1, 3)]
    wide = [replace(run, clip=clip) for clip in (StageClip(1e9), NetworkClip(1e9)) for run in plain]
    answers = both(pool, [*plain, *wide], network_of_four)
    for number, (ran, expected) in enumerate(answers[3:]):
        assert_same(ran.state, answers[number % 3][0].state)
        assert_same(expected.state, answers[number % 3][1].state)


@pytest.mark.parametrize("weights", ["stashed", "latest", "recomputed"])
def test_ticks_in_which_all_stages_update_give_the_same_bits(weights: str) -> None:
    """They do without any clipping: they are the numbers of ``clip=network`` alone, and its order, that are other."""
    for staleness in (1, 2, 3, 7):
        run = clipped(3, 1, staleness=staleness, weights=weights, clip={"name": "none"})
        with patch("bench.engine.assembly.build", network_of_four):
            expected = oracle(run)
            with patch.object(RunConfig, "clock", lambda run, batches: Clock(3, run.staleness, batches, True)):
                assert_same(oracle(run).state, expected.state)


@pytest.mark.parametrize("replicas", [1, *in_full(2)])
def test_long_delays_and_short_stretches_do_not_lock(pool: Pool, replicas: int) -> None:
    """With the slots of runs that do not clip, staleness 7 and more would lock for ever."""
    cases = [(7, 20), (9, 20), (3, 12), (10**9, 12), (3, 1)]
    runs = [clipped(3, replicas, staleness=c, max_steps=steps) for c, steps in cases]
    for run, (ran, expected) in zip(runs, both(pool, runs, network_of_four), strict=True):
        assert_same(ran.state, expected.state, str(run.staleness))


# -------------------------------------------------------------------------------------------------------- plain PyTorch
def plainly(run: RunConfig, network: nn.Module, batches: list[Any], norm: float) -> list[float]:
    """The loop that everybody writes, whose gradients are the mean of so many batches'; return the gradients' norms."""
    optimizer, norms = plain_optimizer(run, network.parameters()), list[float]()
    parameters = list(network.parameters())
    for step in range(20):
        optimizer.param_groups[0]["lr"] = min((step + 1) / 3, 1) * 0.05
        gradients = []
        for batch in batches:
            logits: Tensor = network(batch.inputs(step // 10, step % 10))
            loss = nn.functional.cross_entropy(logits, batch.targets(step // 10, step % 10))
            gradients.append(torch.autograd.grad(loss, parameters))
        for parameter, *copies in zip(parameters, *gradients, strict=True):
            parameter.grad = sum(copies[1:], start=copies[0]) / len(copies)
        norms.append(float(nn.utils.clip_grad_norm_(parameters, norm, foreach=False)))
        optimizer.step()
    return norms


def unsplit(run: RunConfig) -> dict[str, NDArray[Any]]:
    """What the loop makes of the run's network; some of its gradients are cut, and some are not."""
    torch.manual_seed(run.seed)
    network = network_of_four(None, tiny.dataset_of(run)).double()
    norms = plainly(run, network, [plain_batches(run, replica) for replica in range(run.replicas)], NORM)
    assert min(norms) < NORM < max(norms)
    return arrays(network)


@pytest.mark.parametrize(
    ("optimizer", "replicas"),
    [(SGD, 2), (ADAMW, 1), *in_full((SGD, 1), (ADAMW, 2))],
    ids=["sgd-2", "adamw-1", "sgd-1", "adamw-2"],
)
def test_staleness_0_equals_torchs_clipping_of_the_unsplit_network(
    pool: Pool, optimizer: dict[str, Any], replicas: int
) -> None:
    """To the bit for any cut, with the norm of the replicas' mean; by each stage's own norm it is another run."""
    expected = unsplit(clipped(1, replicas, optimizer=optimizer))
    statistics = {name for name in expected if "running" in name or "num_batches" in name}
    for stages in [stages for stages, s in FEW if s == replicas]:
        runs = [clipped(stages, replicas, optimizer=optimizer, clip=clip) for clip in (NETWORK, STAGE)]
        for run, pair in zip(runs, both(pool, runs, network_of_four), strict=True):
            for ran in pair:
                state = {name: value for name, value in ran.state.items() if name not in statistics}
                same = {name: value for name, value in expected.items() if name not in statistics}
                if run.clip.name == "network" or stages == 1:
                    assert_same(state, same, f"stages={stages}")
                else:
                    assert max(np.abs(state[name] - same[name]).max() for name in same) > 1e-6


# ------------------------------------------------------------------------------------------------------- other methods
PIPELINES = ("gpipe", "1f1b", "interleaved_1f1b", "zero_bubble")


def perceptron(stages: int, replicas: int, **changes: Any) -> RunConfig:
    return of_baseline(
        stages, replicas, **{"data": data(updates=20), "clip": {"name": "network", "norm": 1.2}, **changes}
    )


@pytest.fixture(scope="module", params=[1, 2])
def plain(request: pytest.FixtureRequest) -> tuple[int, dict[str, NDArray[Any]]]:
    """A number of replicas, and what the loop makes of so many batches; some of the gradients are cut."""
    run = perceptron(1, request.param)
    torch.manual_seed(run.seed)
    network = tiny.network_of(run.model, (3, 8, 8), 3).double()
    norms = plainly(run, network, [plain_batches(run, replica) for replica in range(run.replicas)], 1.2)
    assert min(norms) < 1.2 < max(norms)
    return run.replicas, arrays(network)


@pytest.mark.parametrize("stages", [2, *in_full(3)])
def test_a_pipeline_clips_as_the_unsplit_network(
    pool: Pool, plain: tuple[int, dict[str, NDArray[Any]]], stages: int
) -> None:
    """Also where a stage has two pieces of the network: microbatches are added up in another order, and that is all."""
    replicas, expected = plain
    microbatches = 4 // replicas if stages == 2 else 4
    methods = [name for name in PIPELINES if not (name == "interleaved_1f1b" and stages == 3)]
    runs = [perceptron(stages, replicas, method=name, microbatches=microbatches) for name in methods]
    for run, ran in zip(runs, distributed(pool, runs), strict=True):
        assert_close(ran.state, expected)
        assert run.clip == NetworkClip(1.2)


def test_data_parallelism_clips_the_mean(pool: Pool, plain: tuple[int, dict[str, NDArray[Any]]]) -> None:
    replicas, expected = plain
    for clip in ("stage", "network"):
        (ran,) = distributed(pool, [perceptron(1, replicas, method="ddp", clip={"name": clip, "norm": 1.2})])
        assert_same(ran.state, expected)


def test_the_two_pieces_of_a_stage_have_one_norm(pool: Pool) -> None:
    """By ``clip=stage``: the first and last quarter of a V, or every other one of a loop."""
    more: dict[str, Any] = {"clip": {"name": "stage", "norm": 1.2}, "microbatches": 2, "partition": [2, 4, 6]}
    runs = [perceptron(2, 1, method=name, **more) for name in ("zero_bubble", "interleaved_1f1b")]
    in_a_v, in_a_loop = (ran.state for ran in distributed(pool, runs))
    assert max(np.abs(in_a_v[name] - in_a_loop[name]).max() for name in in_a_v) > 1e-6


# -------------------------------------------------------------------------------------------------------- what it costs
def test_what_a_stage_waits_for_is_update_locking(pool: Pool, tmp_path: Path) -> None:
    """The last stage has its gradient first, and waits for what the first one does: but for the first batch of each of
    two stretches before its update. Without clipping it would wait for nothing."""
    run = clipped(2, 1, staleness=2)
    (_, last), naps = napped(pool, tmp_path, run, 0, 1, "update_lock", "forward_lock")
    assert len(naps) == 20
    assert last["update_lock"] >= NAP * (len(naps) - 2)
    assert last["backward_lock"] == 0


def test_channels_have_room_for_all_the_delay() -> None:
    """A run's memory is that of its clock: more activations, fewer gradients."""
    plain, coupled = (clipped(3, 1, staleness=4, clip=clip).clock(40) for clip in ({"name": "none"}, NETWORK))
    assert [sum(clock.room_forward(1)) for clock in (plain, coupled)] == [9, 11]
    assert [sum(clock.room_backward()) for clock in (plain, coupled)] == [5, 3]


# --------------------------------------------------------------------------------------------------------------- config
def test_a_run_without_clipping_keeps_its_name() -> None:
    """Older records, which know of none, are read as such runs."""
    run = clipped(2, 1, staleness=2, clip={"name": "none"})
    old = {key: value for key, value in run.resolved().items() if key != "clip"}
    assert hash_of(old) == run.hash()
    assert "clip" not in run.canonical()
    assert parse_recorded(old) == run
    names = {clipped(2, 1, staleness=2, clip=clip).hash() for clip in (STAGE, NETWORK, {**STAGE, "norm": 3.0})}
    assert len(names | {run.hash()}) == 4


@pytest.mark.parametrize("clip", ["stage", "network"])
def test_a_wrong_norm_is_told(clip: str) -> None:
    for norm, allowed in ((0, "greater than 0"), (-1.0, "greater than 0"), (float("inf"), "a finite number")):
        with pytest.raises(ConfigError, match=rf"^clip\.norm={norm}: must be {allowed}$"):
            clipped(2, 1, clip={"name": clip, "norm": norm})


def test_no_theorem_speaks_of_it_and_margins_stay() -> None:
    """What is clipped goes the same way, less far."""
    plain, wide = (clipped(2, 1, staleness=2, clip=clip) for clip in ({"name": "none"}, NETWORK))
    assert limits_of(plain, 0.1, 8.0) == limits_of(wide, 0.1, 8.0)
    assert [{*outside_of(wide)} - {*outside_of(plain)}] == [
        {"clip=network scales every gradient by a factor that depends on it"}
    ]


@dataclass(frozen=True)
class Odd(StageClip):
    """A user's own, whose two readings differ."""

    name: ClassVar[str] = "odd"

    def factor(self, norms: Tensor) -> Tensor:
        return super().factor(norms) / 2


def test_a_choice_whose_two_readings_differ_is_told() -> None:
    StageClip(1.0).try_out(None)
    with pytest.raises(ValueError, match=r"^its factor\(\) and its by_parameter\(\) must make the same of a gradient$"):
        Odd(1.0).try_out(None)
