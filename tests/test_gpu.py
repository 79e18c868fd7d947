"""The engines on a GPU: one rank, and several ranks that share it, against the oracle; skipped where there is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed import Store

from bench.config import RunConfig
from bench.engine.checkpoint import Place
from bench.engine.train import train
from bench.engine.world import World
from bench.plan.grid import Grid
from bench.record.checkpoints import Checkpoints
from bench.rule.clip.network import NetworkClip
from bench.rule.clip.stage import StageClip
from tests import tiny
from tests.both import Ran
from tests.pool import Pool, joined
from tests.resuming import EVERY, stop_at
from tests.test_equality import ADAMW, SGD

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
    pytest.mark.timeout(300),
]
STAGE, NETWORK = StageClip(0.8), NetworkClip(0.8)
TOLERANCE = 1e-9
"""The largest error in float64: kernels on a GPU sum in an order of their own."""


def _states(store: Store, runs: Sequence[RunConfig]) -> list[dict[str, Any]]:
    """Run, as a rank of a pool, runs on the GPU; return their states."""
    with joined(runs[0], store) as world:
        outcomes = [train(run, tiny.dataset_of(run), world, lambda _: None) for run in runs]
    return [{name: tensor.cpu().numpy() for name, tensor in outcome.state.items()} for outcome in outcomes]


@pytest.mark.parametrize(("stages", "replicas"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_ranks_on_a_gpu_equal_the_oracle_there(pool: Pool, stages: int, replicas: int) -> None:
    """They do with every staleness and way to take the backward; they share the GPU, through the host's memory."""
    grid = {"stages": stages, "replicas": replicas, "device": "cuda", "backend": "gloo", "batch_size": 8 // replicas}
    lags = [(0, "stashed"), (1, "stashed"), (2, "stashed"), (2, "latest"), (2, "recomputed")]
    runs = [tiny.config(**grid, staleness=c, weights=weights) for c, weights in lags[: None if stages > 1 else 1]]
    runs += [dataclasses.replace(run, clip=clip) for run in (runs[0], runs[-1]) for clip in (STAGE, NETWORK)]
    ran = pool.run(_states, runs[0].agents, runs)[0]
    oracles = [dataclasses.replace(run, engine="reference") for run in runs]
    expected = pool.run(_states, 1, oracles)[0]
    for run, state, oracle in zip(runs, ran, expected, strict=True):
        assert set(state) == set(oracle)
        for name, value in oracle.items():
            what = f"staleness={run.staleness} weights={run.weights} clip={run.clip} {name}"
            np.testing.assert_allclose(state[name], value, rtol=TOLERANCE, atol=TOLERANCE, err_msg=what)


@pytest.mark.parametrize("engine", ["distributed", "reference"])
@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=lambda optimizer: optimizer["name"])
def test_a_run_on_a_gpu_goes_on(engine: str, optimizer: dict[str, Any], tmp_path: Path) -> None:
    """Equal but for sums in orders of their own; what counts steps stays on the host, as it was."""
    run = tiny.config(device="cuda", engine=engine, optimizer=optimizer, epochs=3)
    whole, ran, _ = stopped_and_whole(run, tmp_path)
    for name, value in whole.state.items():
        np.testing.assert_allclose(ran.state[name], value, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


def stopped_and_whole(run: RunConfig, folder: Path) -> tuple[Any, Any, list[Any]]:
    world = World(Grid(1, 1), 0, torch.device("cuda", 0), "gloo")
    place, dataset, events = Place(Checkpoints(folder), EVERY), tiny.dataset_of(run), list[Any]()
    stop_at(run, world, place, 2, [])
    ran = train(run, dataset, world, events.append, place)
    assert [event["event"] for event in events[:2]] == ["started", "resumed"]
    whole = train(run, dataset, world, lambda _: None)
    for outcome in (whole, ran):
        outcome.state = {name: tensor.cpu() for name, tensor in outcome.state.items()}
    return Ran.of(whole), Ran.of(ran), events
