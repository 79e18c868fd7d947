"""Runs that stop behind a checkpoint and go on from it, in the ranks of a pool or alone, beside the same ones whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch.distributed import Store

from bench.config import RunConfig
from bench.engine.checkpoint import Checkpointer, Place, State
from bench.engine.train import train
from bench.engine.world import World
from bench.plan.grid import Grid
from bench.record.checkpoints import Checkpointing, Checkpoints
from bench.record.metrics import SECONDS, SPEED
from tests import tiny
from tests.both import Network, Ran, assert_same
from tests.pool import Pool, joined

EVERY = Checkpointing(1, None)
"""A checkpoint at every flush point."""
TIMED = (SECONDS, SPEED)
"""Keys of an epoch that no two runs have alike."""


class Stopped(Exception):
    """A run is stopped behind a checkpoint."""


class Resumed(NamedTuple):
    """A run that went on, beside the same one whole."""

    run: RunConfig
    whole: Ran
    ran: Ran
    before: list[dict[str, Any]]
    """The events up to the checkpoint."""
    after: list[dict[str, Any]]
    """The events from there on."""


def ran_on(run: RunConfig, world: World, folder: Path, stop: int) -> Resumed:
    """Train a run whole; then again up to its checkpoint number ``stop``, from 1, and from that to the end."""
    dataset, place = tiny.dataset_of(run), Place(Checkpoints(folder / run.hash()), EVERY)
    if world.rank == 0:
        place.checkpoints.clear()  # of a run with other flush points, which may be the same one
    whole = Ran.of(train(run, dataset, world, lambda _: None))
    before, after = list[Mapping[str, Any]](), list[Mapping[str, Any]]()
    stop_at(run, world, place, stop, before)
    ran = Ran.of(train(run, dataset, world, after.append, place))
    return Resumed(run, whole, ran, [*map(dict, before)], [*map(dict, after)])


def stop_at(run: RunConfig, world: World, place: Place, stop: int, events: list[Mapping[str, Any]]) -> None:
    """Train until so many checkpoints are left."""
    saved, save = 0, Checkpointer.save

    def saving(self: Checkpointer, step: int, state: State) -> bool:
        nonlocal saved
        assert save(self, step, state)
        saved += 1
        if saved == stop:
            raise Stopped
        return True

    with patch.object(Checkpointer, "save", saving):
        try:
            train(run, tiny.dataset_of(run), world, events.append, place)
        except Stopped:
            return
    raise AssertionError(f"{run}: has no checkpoint number {stop}")


def of_ranks(store: Store, runs: Sequence[RunConfig], folder: Path, stop: int, network: Network) -> list[Resumed]:
    with patch("bench.engine.assembly.build", network), joined(runs[0], store) as world:
        return [ran_on(run, world, folder, stop) for run in runs]


def by_ranks(pool: Pool, runs: Sequence[RunConfig], folder: Path, network: Network, stop: int = 1) -> list[Resumed]:
    """Each of some runs of one grid, on the pool's ranks."""
    found: list[Resumed] = pool.run(of_ranks, runs[0].agents, list(runs), folder, stop, network)[0]
    return found


def alone(run: RunConfig, folder: Path, network: Network, stop: int = 1) -> Resumed:
    """A run that needs no other process."""
    with patch("bench.engine.assembly.build", network):
        return ran_on(run, World(Grid(1, 1), 0, torch.device("cpu"), "gloo"), folder, stop)


def curves(ran: Ran) -> list[dict[str, Any]]:
    return [{name: value for name, value in epoch.items() if name not in TIMED} for epoch in ran.epochs]


def check(resumed: Resumed) -> None:
    """Check that a run went on as if nothing had been: parameters and curves to the bit, seconds where they stood."""
    run, whole, ran, before, after = resumed
    assert_same(ran.state, whole.state, str(run.resolved()))
    assert curves(ran) == curves(whole)
    for key in ("staleness", "weight_versions"):
        assert [agent[key] for agent in ran.agents] == [agent[key] for agent in whole.agents]
    if not after:
        return
    begun = [event for event in before if event["event"] == "epoch"]
    assert [event["event"] for event in after[:2]] == ["started", "resumed"]
    (saved,) = [event["step"] for event in before if event["event"] == "checkpoint"][-1:]
    assert after[1]["step"] == saved
    told = [{name: epoch[name] for name in TIMED} for epoch in begun]
    assert [{name: epoch[name] for name in TIMED} for epoch in ran.epochs[: len(begun)]] == told
    seconds = [epoch[SECONDS] for epoch in ran.epochs]
    assert seconds == sorted(seconds)
    for agent in ran.agents:
        assert (
            sum(agent["seconds"].values()) == agent["wall_seconds"]
            or abs(sum(agent["seconds"].values()) / agent["wall_seconds"] - 1) < 1e-9
        )
