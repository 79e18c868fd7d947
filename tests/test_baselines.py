"""The baselines compute the update of the unsplit network, and say where their time goes."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from torch import nn
from torch.distributed import Store
from torch.distributed.pipelining import PipelineStage

from bench.config import RunConfig
from bench.engine.meter import Span
from bench.engine.method.metered import MeteredStage
from bench.engine.train import train
from bench.plan.sections import COMPUTE, KINDS
from bench.task.dataset import Dataset
from bench.task.model.contract import Model
from tests import tiny
from tests.both import Ran, assert_close, assert_same, distributed, together
from tests.designs import in_full
from tests.naps import NAP, napped
from tests.pool import Pool, joined
from tests.test_equality import dropout_network
from tests.tiny import method_of

PIPELINES = ("gpipe", "1f1b", "interleaved_1f1b", "zero_bubble")
MLP = {"name": "mlp", "hidden": 8, "layers": 7}
VIT = {"name": "vit", "patch": 4, "dim": 8, "depth": 2, "heads": 2}
ADAMW = {"name": "adamw", "betas": [0.9, 0.99], "eps": 1e-8, "weight_decay": 0.02}
RESNET = {"name": "resnet", "depth": 8, "width": 4}
UPDATES = 10


def configured(stages: int, replicas: int, **changes: Any) -> RunConfig:
    """Two epochs of five updates on the same 8 images a tick whatever the grid, without batch norm."""
    values: dict[str, Any] = {
        "stages": stages,
        "replicas": replicas,
        "batch_size": 8 // replicas,
        "model": MLP,
        "data": data(updates=UPDATES),
    }
    return tiny.config(**{**values, **changes})


def data(updates: int) -> dict[str, Any]:
    """The data of a run of so many updates in two epochs."""
    return {
        "name": "synthetic",
        "shape": [3, 8, 8],
        "classes": 3,
        "train_size": 4 * updates,
        "test_size": 22,
        "validation": 0.0,
    }


@pytest.fixture(scope="module")
def unsplit(pool: Pool) -> Ran:
    """What all pipelines of the perceptron are to make."""
    return distributed(pool, [configured(1, 1)])[0]


# ----------------------------------------------------------------------------------------------------------- the update
GRIDS = [(2, 1, 2), (2, 1, 8), (3, 2, 4), *in_full((2, 1, 4), (2, 2, 2), (2, 2, 4), (3, 1, 4))]
"""Stages, replicas, microbatches."""


@pytest.mark.parametrize(("stages", "replicas", "microbatches"), GRIDS)
def test_a_pipeline_makes_the_update_of_the_unsplit_network(
    pool: Pool, unsplit: Ran, stages: int, replicas: int, microbatches: int
) -> None:
    """Every weight is the unsplit network's after the updates with a flush among them, and so is what is reported."""
    methods = [method for method in PIPELINES if not (method == "interleaved_1f1b" and microbatches % stages)]
    runs = [configured(stages, replicas, method=method, microbatches=microbatches) for method in methods]
    for run, ran in zip(runs, distributed(pool, runs), strict=True):
        assert ran.epochs[-1]["step"] == UPDATES
        assert_close(ran.state, unsplit.state)
        for metric in ("loss/train", "loss/test", "accuracy/test"):
            assert ran.metrics[metric] == pytest.approx(unsplit.metrics[metric], rel=1e-12), run.method
        assert [agent["staleness"] for agent in ran.agents] == [{"0": UPDATES}] * run.agents
        assert ran.metrics["staleness/max_updates"] == 0


@pytest.mark.parametrize(
    "changes", [{"model": VIT, "partition": [1, 2, 3]}, {"optimizer": ADAMW}], ids=["vit", "adamw"]
)
def test_it_does_so_for_other_networks_and_optimizers(pool: Pool, changes: dict[str, Any]) -> None:
    (expected,) = distributed(pool, [configured(1, 1, **{**changes, "partition": []})])
    looped = [configured(2, 1, method=m, microbatches=2, **changes) for m in ("interleaved_1f1b", "zero_bubble")]
    single = [configured(2, 1, method=m, microbatches=2, **{**changes, "partition": [2]}) for m in ("gpipe", "1f1b")]
    for ran in distributed(pool, [*looped, *single]):
        assert_close(ran.state, expected.state, 1e-11)


@pytest.mark.parametrize("stages", [2, 3])
def test_fewer_microbatches_than_stages_will_do_where_the_schedule_lets_them(
    pool: Pool, unsplit: Ran, stages: int
) -> None:
    methods = ("gpipe", "interleaved_1f1b", "zero_bubble")
    for ran in distributed(pool, [configured(stages, 1, method=method, microbatches=1) for method in methods]):
        assert_close(ran.state, unsplit.state)


@pytest.mark.parametrize(
    ("precision", "channels_last"),
    [
        ("float64", False),
        ("bfloat16", True),
        *in_full(("float64", True), ("float32", False), ("float32", True), ("bfloat16", False)),
    ],
)
def test_with_one_microbatch_batch_norm_makes_no_difference(pool: Pool, precision: str, channels_last: bool) -> None:
    """ResNet, whose activations are in place and not contiguous: to the bit what back-propagation computes."""
    numbers = {"model": RESNET, "precision": precision, "channels_last": channels_last}
    cuts = {"interleaved_1f1b": [1, 2, 3], "zero_bubble": [1, 2, 3]}
    (expected,) = distributed(pool, [configured(2, 2, partition=[2], **numbers)])
    methods = ("gpipe", "zero_bubble", "interleaved_1f1b")
    runs = [configured(2, 2, method=method, partition=cuts.get(method, [2]), **numbers) for method in methods]
    for run, ran in zip(runs, distributed(pool, runs), strict=True):
        assert_same(ran.state, expected.state, run.method.name)
        assert ran.metrics["loss/test"] == expected.metrics["loss/test"]


@pytest.mark.parametrize("partition", [[2, 6, 10], [6, 7, 8]])
def test_a_piece_may_end_where_a_block_hands_its_input_on(pool: Pool, partition: list[int]) -> None:
    """At 6 its shortcut is what the layer before has computed, and what its convolution has saved; from 6 to 7, and on
    to 8, it passes beside a norm and a convolution."""
    deeper = RESNET | {"depth": 14}
    (expected,) = distributed(pool, [configured(2, 1, partition=[2], model=deeper)])
    (ran,) = distributed(pool, [configured(2, 1, method="zero_bubble", partition=partition, model=deeper)])
    assert_same(ran.state, expected.state)


def test_microbatches_make_a_difference_to_batch_norm(pool: Pool) -> None:
    """What the documentation says; or else the tests above could have used it."""
    (expected,) = distributed(pool, [configured(1, 1, model=RESNET)])
    (ran,) = distributed(pool, [configured(2, 1, model=RESNET, method="gpipe", microbatches=4)])
    assert max(np.abs(ran.state[name] - value).max() for name, value in expected.state.items()) > 1e-3


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_schedules_agree_in_every_precision(pool: Pool, precision: str) -> None:
    """Torch's schedules differ in their order alone: batch norm too sees the same microbatches in turn."""
    numbers = {"model": RESNET, "precision": precision, "channels_last": True, "microbatches": 2}
    first, *others = distributed(
        pool, [configured(2, 1, method=m, partition=[2], **numbers) for m in ("gpipe", "1f1b")]
    ) + distributed(
        pool, [configured(2, 1, method=m, partition=[1, 2, 3], **numbers) for m in ("interleaved_1f1b", "zero_bubble")]
    )
    for other in others:
        assert_close(other.state, first.state, 1e-4 if precision == "float32" else 0.02)


def by_tcp(store: Store, runs: list[RunConfig]) -> list[Ran]:
    with patch("bench.engine.transport.shared.FOLDER", Path("/missing")):
        return together(store, runs)


def test_messages_may_go_by_the_network(pool: Pool) -> None:
    """Messages of two boundaries between the same two ranks do not mix there either."""
    numbers = {"model": RESNET, "precision": "float32", "channels_last": True, "microbatches": 4}
    runs = [configured(2, 1, method=method, partition=[1, 2, 3], **numbers) for method in PIPELINES[2:]]
    for ran, expected in zip(pool.run(by_tcp, 2, runs)[0], distributed(pool, runs), strict=True):
        assert_same(ran.state, expected.state)


def views(_: Model, dataset: Dataset) -> nn.Sequential:
    """Four entries, of which one hands on a view."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(dataset.input_shape[0], 4, 3), nn.Tanh(), nn.Flatten()),
        nn.Sequential(nn.Linear(144, 6), nn.ReLU(inplace=True), nn.Unflatten(1, (2, 3))),
        nn.Sequential(nn.Linear(3, 3), nn.Flatten()),
        nn.Linear(6, dataset.outputs),
    )


@pytest.mark.parametrize("method", ["interleaved_1f1b", "zero_bubble"])
def test_a_piece_may_end_in_a_view(pool: Pool, method: str) -> None:
    run = configured(2, 1, method=method, partition=[1, 2, 3], microbatches=2)
    ran: Ran = pool.run(together_on, 2, [run], views)[0][0]
    expected: Ran = pool.run(together_on, 1, [configured(1, 1)], views)[0][0]
    assert_close(ran.state, expected.state)


def together_on(store: Store, runs: list[RunConfig], network: Any) -> list[Ran]:
    with patch("bench.engine.assembly.build", network):
        return together(store, runs)


def test_masks_of_dropout_are_the_same_again(pool: Pool) -> None:
    """Every microbatch has masks of its own: one alone has those of the locked pipeline with the same cut."""
    locked, gpipe = (configured(3, 1, partition=[1, 2], **more) for more in ({}, {"method": "gpipe"}))
    several = configured(3, 1, partition=[1, 2], method="gpipe", microbatches=4)
    (expected,) = pool.run(together_on, 3, [locked], dropout_network)[0]
    one, first, again = pool.run(together_on, 3, [gpipe, several, several], dropout_network)[0]
    assert_same(one.state, expected.state)
    assert_same(again.state, first.state)
    assert np.abs(first.state["0.1.weight"] - expected.state["0.1.weight"]).max() > 1e-3


# ---------------------------------------------------------------------------------------------------- data parallelism
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("optimizer", [tiny.VALUES["optimizer"], ADAMW], ids=["sgd", "adamw"])
def test_ddp_equals_the_decoupled_worker_at_one_stage(pool: Pool, replicas: int, optimizer: dict[str, Any]) -> None:
    """They agree to the bit, batch norm too: statistics are a replica's own in both."""
    run = configured(1, replicas, model=RESNET, optimizer=optimizer)
    expected, ran = distributed(pool, [run, configured(1, replicas, model=RESNET, optimizer=optimizer, method="ddp")])
    assert_same(ran.state, expected.state)
    for metric in ("loss/train", "loss/test", "accuracy/test"):
        assert ran.metrics[metric] == expected.metrics[metric]
    assert [agent["staleness"] for agent in ran.agents] == [{"0": UPDATES}] * replicas


def test_ddp_makes_the_update_of_the_whole_batch(pool: Pool, unsplit: Ran) -> None:
    (ran,) = distributed(pool, [configured(1, 4, method="ddp")])
    assert_close(ran.state, unsplit.state)


@pytest.mark.parametrize(
    "numbers", [{"precision": "float32", "channels_last": True}, {"precision": "bfloat16", "channels_last": True}]
)
def test_ddp_in_other_precisions(pool: Pool, numbers: dict[str, Any]) -> None:
    run = configured(1, 2, model=RESNET, **numbers)
    expected, ran = distributed(pool, [run, configured(1, 2, model=RESNET, method="ddp", **numbers)])
    assert_same(ran.state, expected.state)


# ------------------------------------------------------------------------------------------------------------ placement
def test_every_piece_has_one_holder() -> None:
    loop, v, line = map(method_of, ("interleaved_1f1b", "zero_bubble", "gpipe"))
    assert [loop.held(3, stage) for stage in range(3)] == [[0, 3], [1, 4], [2, 5]]
    assert [v.held(3, stage) for stage in range(3)] == [[0, 5], [1, 4], [2, 3]]
    assert [line.held(3, stage) for stage in range(3)] == [[0], [1], [2]]
    for method in (loop, v):
        for stages in range(2, 6):
            pieces = [piece for stage in range(stages) for piece in method.held(stages, stage)]
            assert sorted(pieces) == list(range(2 * stages))
            for stage in range(stages):
                assert all(method.holder(stages, piece) == stage for piece in method.held(stages, stage))


def test_a_record_says_who_holds_what(pool: Pool) -> None:
    run = configured(2, 1, method="zero_bubble", microbatches=2, partition=[2, 4, 6])
    partition = pool.run(partition_of, 2, run)[0]
    assert [(part["stage"], part["first_layer"], part["last_layer"]) for part in partition] == [
        (0, 0, 1), (1, 2, 3), (1, 4, 5), (0, 6, 7)
    ]  # fmt: skip
    assert [part["message_bytes"] for part in partition] == [4 * 8 * 8, 4 * 8 * 8, 4 * 8 * 8, 0]


def partition_of(store: Store, run: RunConfig) -> list[dict[str, Any]]:
    with joined(run, store) as world:
        return train(run, tiny.dataset_of(run), world, lambda _: None).partition


# ------------------------------------------------------------------------------------------------------------- metering
@pytest.mark.parametrize("method", PIPELINES)
def test_sections_of_a_pipeline_add_up_to_its_wall_time(pool: Pool, method: str) -> None:
    (ran,) = distributed(pool, [configured(2, 2, method=method, microbatches=4, data=data(updates=20))])
    for agent in ran.agents:
        assert set(agent["seconds"]) == set(KINDS)
        assert sum(agent["seconds"].values()) == pytest.approx(agent["wall_seconds"], rel=1e-9)
        assert all(agent["seconds"][kind] > 0 for kind in (*COMPUTE, "update_lock", "averaging", "sending"))
    assert 0 < ran.metrics["throughput/efficiency"] <= 1
    for line in ran.timelines:
        spans = [Span(*span) for span in line["spans"]]
        assert all(one.stop <= other.start for one, other in pairwise(spans))
        assert {span.tick for span in spans} == set(range(10))


def test_sections_of_ddp_add_up_to_its_wall_time(pool: Pool) -> None:
    (ran,) = distributed(pool, [configured(1, 2, method="ddp", model=RESNET, data=data(updates=20))])
    for agent in ran.agents:
        assert sum(agent["seconds"].values()) == pytest.approx(agent["wall_seconds"], rel=1e-9)
        assert all(agent["seconds"][kind] > 0 for kind in (*COMPUTE, "update_lock", "averaging", "data"))
        assert agent["seconds"]["forward_lock"] == agent["seconds"]["backward_lock"] == 0


@pytest.mark.parametrize("method", ["gpipe", "1f1b"])
def test_a_slow_stage_shows_as_its_neighbours_lock(pool: Pool, tmp_path: Path, method: str) -> None:
    """Each waits for what the other computes, and for nothing else."""
    run = configured(2, 1, method=method, microbatches=2)
    (first, last), naps = napped(pool, tmp_path, run, 1, 0, "backward_lock")
    assert len(naps) == UPDATES * 2
    assert first["backward_lock"] >= UPDATES * NAP * 2
    assert first["forward_lock"] == first["update_lock"] == last["backward_lock"] == last["update_lock"] == 0
    (first, last), naps = napped(pool, tmp_path, run, 0, 1, "forward_lock")
    assert len(naps) == UPDATES * 2
    assert last["forward_lock"] >= UPDATES * NAP * 2
    assert first["forward_lock"] == last["backward_lock"] == 0


@pytest.mark.parametrize(
    ("method", "slow"),
    [("interleaved_1f1b", 0), ("zero_bubble", 1), *in_full(("interleaved_1f1b", 1), ("zero_bubble", 0))],
)
def test_a_slow_stage_of_a_loop_shows_as_the_others_locks(pool: Pool, tmp_path: Path, method: str, slow: int) -> None:
    """Which of both locks it is the schedule decides: the other stage has pieces on both sides of the slow one's."""
    run = configured(2, 1, method=method, microbatches=2)
    seconds, naps = napped(pool, tmp_path, run, slow, 1 - slow, "forward_lock", "backward_lock")
    assert len(naps) == UPDATES * 2 * 2
    locked = [own["forward_lock"] + own["backward_lock"] for own in seconds]
    assert locked[1 - slow] >= UPDATES * NAP * 2 * 2
    assert seconds[0]["update_lock"] == seconds[1]["update_lock"] == 0


@pytest.mark.parametrize(("stages", "method", "microbatches", "awake"), [(1, "ddp", 1, 2), (2, "1f1b", 2, 0)])
def test_a_slow_replica_shows_as_its_peers_lock(
    pool: Pool, tmp_path: Path, stages: int, method: str, microbatches: int, awake: int
) -> None:
    """In DDP's second forward the replicas agree on their buckets: they wait for each other there."""
    run = configured(stages, 2, method=method, microbatches=microbatches)
    seconds, naps = napped(pool, tmp_path, run, stages, 0, "update_lock", awake=awake)
    assert len(naps) == UPDATES * microbatches - awake
    assert seconds[0]["update_lock"] >= len(naps) * NAP


def slow_weights(store: Store, run: RunConfig) -> Ran:
    """A rank of a run whose first stage naps where it computes the gradients of the weights that it has put off."""
    with joined(run, store) as world:
        late = PipelineStage.backward_weight_one_chunk

        def napping(stage: MeteredStage, *args: Any, **kwargs: Any) -> None:
            if world.rank == 0:
                time.sleep(NAP)
            late(stage, *args, **kwargs)

        with patch.object(PipelineStage, "backward_weight_one_chunk", napping):
            return Ran.of(train(run, tiny.dataset_of(run), world, lambda _: None))


def test_what_zero_bubble_puts_off_is_backward(pool: Pool) -> None:
    run = configured(2, 1, method="zero_bubble", microbatches=2)
    ran: Ran = pool.run(slow_weights, 2, run)[0]
    assert ran.agents[0]["seconds"]["backward"] >= UPDATES * NAP
