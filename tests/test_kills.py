"""Sweeps whose processes are killed at random moments, and that end as if nobody had touched them."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.record.folder import RunFolder
from bench.record.metrics import SECONDS, SPEED
from bench.study.tracking.store import silenced
from tests.commands import BENCH, LONG, TINY, Command, await_that, command, read_json

pytestmark = [pytest.mark.full, pytest.mark.timeout(1500)]
KILLS = 10
EPOCHS = 100
STRETCH = 5 * 16
"""Updates from one checkpoint to the next: five epochs."""
SWEEP = (
    *BENCH,
    "-m",
    *TINY,
    "tracking=mlflow",
    "tracking.uri=sqlite:///mlflow.db",
    "runs_dir=runs",
    "records=records.jsonl",
    "restarts=20",
    "checkpoint.every=5",
    f"epochs={EPOCHS}",
    "staleness=1,2",
)
"""Points of two ranks each; each trains for seconds and leaves tens of checkpoints."""
SEEDS = {2: "seed=0", 6: "seed=0,1,2"}
"""What makes so many points of it."""
Kill = Callable[[Command], bool]
"""Kills something, and says whether there was something to kill."""
Found = dict[str, dict[str, Any]]
"""What a sweep came to, by the names of its runs."""


def finished(running: Command) -> Found:
    """What the sweep came to, run by run: all that does not hang on the clock."""
    assert running.wait(LONG) == 0, running.stderr
    running.assert_gone()
    found = {}
    for path in sorted(running.folder.glob("runs/*/record.json")):
        record = read_json(path)
        curves = [
            {key: value for key, value in epoch.items() if key not in (SECONDS, SPEED)} for epoch in record["epochs"]
        ]
        metrics = {key: value for key, value in record["metrics"].items() if key.split("/")[0] in ("accuracy", "loss")}
        staleness = [agent["staleness"] for agent in record["agents"]]
        model = torch.load(path.with_name("model.pt"), weights_only=True)
        found[path.parent.name] = {"curves": curves, "metrics": metrics, "staleness": staleness, "model": model}
    return found


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Found]:
    """The sweep of so many points that nobody kills."""

    @functools.cache
    def run(points: int) -> Found:
        with command(
            [*SWEEP, SEEDS[points], "tracking.uri=sqlite:///other.db"], tmp_path_factory.mktemp("untouched")
        ) as running:
            found = finished(running)
        assert len(found) == points
        return found

    return run


def kill_parent(running: Command) -> bool:
    running.process.kill()
    return True


def kill_rank(running: Command) -> bool:
    ranks = running.ranks()
    return bool(ranks) and _killed([random.choice(ranks)])


def kill_server(running: Command) -> bool:
    """The process that the ranks are forked from; they train on without it, and the next point needs another."""
    members = running.members()
    return _killed({members[rank] for rank in running.ranks() if rank in members} & {*members})


def kill_machine(running: Command) -> bool:
    return _killed(running.members())


def _killed(processes: Iterable[int]) -> bool:
    hit = False
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
            hit = True
    return hit


def epochs_told(folder: Path) -> int:
    return sum(path.read_text().count('"event": "epoch"') for path in folder.glob("runs/*/events.jsonl"))


def kill_while_it_trains(running: Command, kill: Kill) -> bool:
    """Kill at a random moment while the sweep trains; return whether that was done before it had ended."""
    while running.process.poll() is None:
        told = epochs_told(running.folder)
        await_that(
            lambda: running.process.poll() is not None or epochs_told(running.folder) > told,  # noqa: B023
            lambda: f"the sweep does not train; {running.stderr}",
        )
        time.sleep(random.uniform(0.0, 0.5))
        if running.process.poll() is None and kill(running):
            return True
    return False


def killed_often(folder: Path, points: int, left: list[Kill]) -> Found:
    """The sweep, started again until it comes to its end, and killed meanwhile in the ways that are left, one after the
    other; those that were done are taken out.

    A run whose rank is killed before its first checkpoint has nothing to go on from: it fails, and the next start makes
    it. On a machine that is slow, and on no other, a kill may come so early.
    """
    code = None
    while code != 0:
        with command([*SWEEP, SEEDS[points]], folder) as running:
            while left and kill_while_it_trains(running, left[0]):
                if left.pop(0) in (kill_parent, kill_machine):
                    break
            code = running.wait(LONG)
            running.assert_gone()
            early = any(line.endswith("was killed by SIGKILL") for line in running.stderr.splitlines())
            assert code in (0, int(early), -signal.SIGKILL), running.stderr
    with command([*SWEEP, SEEDS[points]], folder) as running:
        return finished(running)


def assert_untouched(kills: Sequence[Kill], points: int, untouched: Callable[[int], Found], folder: Path) -> None:
    """Check that a sweep that is killed ends, bit by bit, as one that never was; a fast machine takes several."""
    random.seed(kills[0].__name__)
    left = list(kills)
    while left:
        place = folder / str(len(left))
        found = killed_often(place, points, left)
        same(found, untouched(points))
        for run in found:
            as_it_should_be(RunFolder(place / "runs" / run))
        kept = [json.loads(line)["config_hash"] for line in (place / "records.jsonl").read_text().splitlines()]
        assert sorted(kept) == sorted(found)
        in_mlflow_once(place, set(found))


def test_a_sweep_that_is_killed_in_every_way_ends_as_one_that_never_was(
    untouched: Callable[[int], Found], tmp_path: Path
) -> None:
    """The short one, to be run by hand after a change."""
    assert_untouched((kill_rank, kill_server, kill_parent, kill_machine), 2, untouched, tmp_path)


@pytest.mark.parametrize("kill", [kill_parent, kill_rank, kill_server, kill_machine], ids=lambda kill: kill.__name__)
def test_a_sweep_that_is_killed_ten_times_ends_as_one_that_never_was(
    kill: Kill, untouched: Callable[[int], Found], tmp_path: Path
) -> None:
    assert_untouched([kill] * KILLS, 6, untouched, tmp_path)


def same(found: dict[str, dict[str, Any]], expected: dict[str, dict[str, Any]]) -> None:
    assert found.keys() == expected.keys()
    for run, its in found.items():
        for part in ("curves", "metrics", "staleness"):
            assert its[part] == expected[run][part], (run, part)
        assert its["model"].keys() == expected[run]["model"].keys()
        for name, tensor in its["model"].items():
            assert torch.equal(tensor, expected[run]["model"][name]), (run, name)


def as_it_should_be(folder: RunFolder) -> None:
    """Nothing is left of the kills, nothing is lost but the stretch behind a checkpoint, and nothing is double."""
    names = {path.name for path in folder.path.iterdir()}
    assert names == {"record.json", "events.jsonl", "model.pt", "timeline.json", "timeline.png", "lock"}
    checkpoint, resumed = 0, []
    for event in folder.events():
        if event["event"] == "checkpoint":
            checkpoint = event["step"]
        elif event["event"] == "resumed":
            # One that was named, and of which the run was killed before it told, is the next one.
            assert event["step"] in (checkpoint, checkpoint + STRETCH)
            resumed.append(event["step"])
    record = read_json(folder.record)
    assert [each["step"] for each in record["resumed"]] == resumed
    assert [epoch["epoch"] for epoch in record["epochs"]] == list(range(EPOCHS))
    assert all(later[SECONDS] > earlier[SECONDS] for earlier, later in pairwise(record["epochs"]))


def in_mlflow_once(folder: Path, runs: set[str]) -> None:
    from mlflow.tracking import MlflowClient

    with silenced(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
        experiment = client.get_experiment_by_name("staleness-bench")
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id], max_results=1000)
    assert [run.info.run_id for run in found if run.info.status == "RUNNING"] == []
    points = Counter(
        run.data.tags["config_hash"]
        for run in found
        if run.info.status == "FINISHED" and "config_hash" in run.data.tags
    )
    assert points == dict.fromkeys(runs, 1)
    for run in found:
        if run.info.status == "FINISHED" and "config_hash" in run.data.tags:
            with silenced():
                history = client.get_metric_history(run.info.run_id, "loss/train")
            assert Counter(metric.step for metric in history) == dict.fromkeys(range(16, 16 * EPOCHS + 1, 16), 1)
