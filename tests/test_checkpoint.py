"""Checkpoints as they lie in a run's folder, what is done about those that are not whole, and commands that go on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest
import torch
from torch.distributed import Store

from bench.config import RunConfig
from bench.engine.checkpoint import Checkpointer, Place, State
from bench.engine.train import train
from bench.engine.world import World
from bench.keys import ConfigError, parse_as
from bench.plan.grid import Grid
from bench.record.checkpoints import (
    NEVER,
    CheckpointError,
    Checkpointing,
    Checkpoints,
    Hashing,
    Manifest,
    Origin,
)
from bench.system.file import WriteError
from tests import tiny
from tests.both import Ran, assert_same
from tests.commands import BENCH, TINY, await_that, command, read_json, said
from tests.pool import Pool, joined
from tests.resuming import EVERY, curves, stop_at

ORIGIN = Origin("0123456789ab", 1, "digest", 2)


# ------------------------------------------------------------------------------------------------------- when it is due
@pytest.mark.parametrize(
    ("every", "minutes", "flushes", "seconds", "due"),
    [
        (None, 10.0, 99, 599.9, False),
        (None, 10.0, 1, 600.0, True),
        (3, None, 2, 1e6, False),
        (3, None, 3, 0.0, True),
        (3, 1.0, 1, 60.0, True),
        (None, None, 10**6, 1e9, False),
    ],
)
def test_a_checkpoint_is_due_at_whichever_comes_first(
    every: int | None, minutes: float | None, flushes: int, seconds: float, due: bool
) -> None:
    assert Checkpointing(every, minutes).is_due(flushes, seconds) is due


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"every": 0, "minutes": None}, "checkpoint.every=0: must be greater than or equal to 1"),
        ({"every": None, "minutes": 0.0}, "checkpoint.minutes=0.0: must be greater than 0"),
    ],
)
def test_what_is_wrong_is_told(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        parse_as(Checkpointing, keys, "checkpoint")


# -------------------------------------------------------------------------------------------------------- in the folder
def write(checkpoints: Checkpoints, step: int, publish: bool = True, origin: Origin = ORIGIN) -> Manifest:
    """A checkpoint of two ranks, each of which has written its number and the step."""
    parts = []
    for rank in range(2):
        with checkpoints.writing(step, rank) as file:
            file.write(f"{rank} at {step}".encode())
        parts.append(file.written)
    manifest = Manifest(1, step, origin, parts)
    if publish:
        checkpoints.publish(manifest)
    return manifest


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoint")


def test_what_was_written_is_read(checkpoints: Checkpoints) -> None:
    assert (checkpoints.published(), checkpoints.unfinished()) == ([], [])
    for step in (9, 120, 40):
        write(checkpoints, step)
    for step in (30, 200):
        write(checkpoints, step, publish=False)
    assert (checkpoints.published(), checkpoints.unfinished()) == ([120, 40, 9], [200])
    manifest = checkpoints.manifest(120, ORIGIN)
    assert (manifest.step, manifest.bytes) == (120, 16)
    assert [checkpoints.read(manifest, rank) for rank in (0, 1)] == [b"0 at 120", b"1 at 120"]


def test_the_others_go_rank_by_rank(checkpoints: Checkpoints) -> None:
    """Each removes its own, as nodes may have a disk each; what is kept has a manifest as long as it has parts."""
    for step in (1, 2, 3):
        write(checkpoints, step)
    checkpoints.keep([3, 2], 0)
    assert checkpoints.published() == [3, 2]
    assert sorted(path.name for path in checkpoints.path.glob("*/*")) == ["rank0.pt"] * 2 + ["rank1.pt"] * 3
    checkpoints.keep([3, 2], 1)
    assert sorted(path.name for path in checkpoints.path.iterdir()) == ["2", "2.json", "3", "3.json"]
    checkpoints.clear()
    assert not checkpoints.path.exists()
    checkpoints.keep([], 1)
    checkpoints.clear()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config_hash": "f" * 12}, "config_hash='ffffffffffff' is not this run's, which is '0123456789ab'"),
        ({"engine_version": 2}, "engine_version=2 is not this run's, which is 1"),
        ({"data": "other"}, "data='other' is not this run's, which is 'digest'"),
        ({"ranks": 3}, "ranks=3 is not this run's, which is 2"),
    ],
)
def test_what_is_of_another_run_is_refused(checkpoints: Checkpoints, change: dict[str, Any], message: str) -> None:
    write(checkpoints, 5, origin=Origin(**{**vars(ORIGIN), **change}))
    with pytest.raises(CheckpointError) as caught:
        checkpoints.manifest(5, ORIGIN)
    assert str(caught.value) == f"{checkpoints.path}/5.json: {message}"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"layout": 1}', b'{"step": "5"}', b"[" * 100_000, b"\xff"])
def test_a_manifest_that_is_none_is_refused(checkpoints: Checkpoints, text: bytes) -> None:
    write(checkpoints, 5)
    (checkpoints.path / "5.json").write_bytes(text)
    with pytest.raises(CheckpointError, match=r"5\.json: "):
        checkpoints.manifest(5, ORIGIN)


def test_a_damaged_part_is_refused(checkpoints: Checkpoints) -> None:
    manifest = write(checkpoints, 5)
    part = checkpoints.path / "5" / "rank1.pt"
    for content in (b"1 at 6", b"1 at", b""):
        part.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"rank1\.pt: is damaged"):
            checkpoints.read(manifest, 1)
    part.unlink()
    with pytest.raises(CheckpointError, match=r"rank1\.pt: No such file"):
        checkpoints.read(manifest, 1)
    assert checkpoints.read(manifest, 0)


def test_what_is_set_aside_is_not_looked_for(checkpoints: Checkpoints) -> None:
    for _ in range(2):
        write(checkpoints, 5)
        checkpoints.set_aside(5)
        assert (checkpoints.published(), checkpoints.unfinished()) == ([], [])
        assert sorted(path.name for path in checkpoints.path.iterdir()) == ["5.aside", "5.json.aside"]


def test_nothing_stays_of_a_part_without_room(checkpoints: Checkpoints) -> None:
    with pytest.raises(WriteError, match=r"rank0\.pt cannot be written: No space left"), checkpoints.writing(5, 0):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert [path.name for path in checkpoints.path.glob("5/*")] == []


# -------------------------------------------------------------------------------------------------------- in the engine
RUN = tiny.config(engine="reference", stages=2, staleness=2, epochs=4)


class Attempts:
    """A run of the oracle's with a checkpoint every epoch, attempt by attempt."""

    def __init__(self, folder: Path, run: RunConfig = RUN) -> None:
        self.run, self.place = run, Place(Checkpoints(folder / "checkpoint"), EVERY)
        self.world = World(Grid(1, 1), 0, torch.device("cpu"), "gloo")

    def stop(self, checkpoints: int) -> None:
        stop_at(self.run, self.world, self.place, checkpoints, [])

    def go_on(self) -> tuple[Ran, list[Mapping[str, Any]]]:
        events: list[Mapping[str, Any]] = []
        ran = train(self.run, tiny.dataset_of(self.run), self.world, events.append, self.place)
        return Ran.of(ran), events


@pytest.fixture(scope="module")
def whole() -> Ran:
    return Ran.of(tiny.alone(RUN))


@pytest.fixture
def stopped(tmp_path: Path) -> Attempts:
    """Stopped behind its third epoch, of 24 updates each."""
    attempts = Attempts(tmp_path)
    attempts.stop(3)
    assert attempts.place.checkpoints.published() == [72, 48]
    return attempts


def resumed_at(events: list[Mapping[str, Any]]) -> list[int]:
    return [event["step"] for event in events if event["event"] == "resumed"]


def of_kind(events: list[Mapping[str, Any]], kind: str) -> list[str]:
    return [event["message"] for event in events if event["event"] == kind]


def assert_went_on(found: tuple[Ran, list[Mapping[str, Any]]], whole: Ran, step: int) -> None:
    ran, events = found
    assert resumed_at(events) == [step]
    assert_same(ran.state, whole.state)
    assert curves(ran) == curves(whole)


def test_a_run_goes_on_again_and_again(tmp_path: Path, whole: Ran) -> None:
    attempts = Attempts(tmp_path)
    for _ in range(3):
        attempts.stop(1)
    assert attempts.place.checkpoints.published() == [72, 48]
    assert_went_on(attempts.go_on(), whole, 72)


@pytest.mark.parametrize("damage", ["part", "no part", "manifest", "foreign"])
def test_the_one_before_is_taken(
    stopped: Attempts, whole: Ran, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped.place.checkpoints.path
    part, manifest = folder / "72" / "rank0.pt", folder / "72.json"
    match damage:
        case "part":
            part.write_bytes(part.read_bytes()[:-1])
        case "no part":
            shutil.rmtree(part.parent)
        case "manifest":
            manifest.write_text("{")
        case "foreign":
            content = json.loads(manifest.read_text())
            manifest.write_text(json.dumps(content | {"origin": content["origin"] | {"config_hash": "f" * 12}}))
    found = stopped.go_on()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("checkpoint of update 72 set aside: ")
    assert str(part if "part" in damage else manifest) in line
    assert line.endswith(of_kind(found[1], "set_aside")[0])
    assert_went_on(found, whole, 48)


def test_what_was_not_finished_is_set_aside(stopped: Attempts, whole: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    (stopped.place.checkpoints.path / "72.json").unlink()
    found = stopped.go_on()
    assert "checkpoint of update 72 set aside: " in capsys.readouterr().err
    assert_went_on(found, whole, 48)


def test_without_a_whole_one_it_begins_anew(stopped: Attempts, whole: Ran) -> None:
    """That it has been under way is told, so that what was told of it counts no more."""
    for part in stopped.place.checkpoints.path.glob("*/rank0.pt"):
        part.write_bytes(b"")
    found = stopped.go_on()
    assert len(of_kind(found[1], "set_aside")) == 2
    assert_went_on(found, whole, 0)


def test_cuts_that_were_measured_stay(tmp_path: Path) -> None:
    """Another measurement may cut elsewhere: then the parts would be of other layers."""
    attempts = Attempts(tmp_path, tiny.config(engine="reference", stages=2, partition="measured", epochs=2))
    with patch("bench.engine.assembly.cut", lambda *_: [3]):
        attempts.stop(1)
    with patch("bench.engine.assembly.cut", lambda *_: [7]):
        whole = Ran.of(tiny.alone(attempts.run))
        assert_went_on(attempts.go_on(), whole, 24)


def test_a_full_disk_is_said_once(tmp_path: Path, whole: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    """In the middle of the second checkpoint, of 100 kB each, and at once in the third: the first one stands."""
    attempts, write, left = Attempts(tmp_path), Hashing.write, 150_000

    def filling(self: Hashing, content: bytes) -> int:
        nonlocal left
        left -= len(content)
        if left < 0:
            self._file = Mock(write=Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
        return write(self, content)

    with patch.object(Hashing, "write", filling):
        ran, events = attempts.go_on()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("no checkpoint of update 48, the run goes on: ")
    assert line.endswith("rank0.pt cannot be written: No space left on device")
    assert [event["step"] for event in events if event["event"] == "checkpoint"] == [24]
    assert len(of_kind(events, "no_checkpoint")) == 1
    assert attempts.place.checkpoints.published() == [24]
    assert attempts.place.checkpoints.unfinished() == []
    assert_same(ran.state, whole.state)


def test_a_disk_without_room_for_the_manifest(stopped: Attempts, capsys: pytest.CaptureFixture[str]) -> None:
    """The log may have none either."""
    problem = WriteError(errno.ENOSPC, os.strerror(errno.ENOSPC), "72.json")
    checkpointer = Checkpointer(stopped.place, RUN, tiny.dataset_of(RUN), stopped.world, lambda _: _raise(problem))
    with patch.object(Checkpoints, "publish", lambda *_: _raise(problem)):
        assert not checkpointer.save(96, {"epochs": []})
        assert not checkpointer.save(97, {"epochs": []})
    assert capsys.readouterr().err.count("no checkpoint of update") == 1
    assert stopped.place.checkpoints.published() == [72, 48]
    assert stopped.place.checkpoints.unfinished() == []


def _raise(error: Exception) -> None:
    raise error


def test_a_run_without_checkpoints_leaves_none(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path)
    attempts.place = Place(attempts.place.checkpoints, NEVER)
    _, events = attempts.go_on()
    assert not attempts.place.checkpoints.path.exists()
    assert {event["event"] for event in events} == {"started", "epoch"}


def of_two(store: Store, folder: Path) -> tuple[list[bool], list[State | None]]:
    """As one of two ranks, whose disks are their own: save where the second's is full, and then where it is not."""
    run = tiny.config(stages=2)
    with joined(run, store) as world:
        place = Place(Checkpoints(folder / str(world.rank)), EVERY)
        saved, found = [], list[State | None]()
        checkpointer = Checkpointer(place, run, tiny.dataset_of(run), world, lambda _: None)
        for step in (1, 2, 3):
            with patch(
                "torch.save", torch.save if step != 2 or world.rank == 0 else lambda *_: _raise(OSError(28, ""))
            ):
                saved.append(checkpointer.save(step, {"mine": torch.full((3,), step * 10 + world.rank)}))
        for _ in range(3):
            newest = checkpointer.newest()
            found.append(newest and newest.state["mine"].tolist())
            if newest and world.rank == 1:
                (place.checkpoints.path / str(newest.step) / "rank1.pt").write_bytes(b"")
        return saved, found


def test_ranks_agree_on_what_is_whole(pool: Pool, tmp_path: Path) -> None:
    """What one of them has not, none of them goes on from."""
    for rank, (saved, found) in enumerate(pool.run(of_two, 2, tmp_path)):
        assert saved == [True, False, True]
        assert found == [[30 + rank] * 3, [10 + rank] * 3, None]


# ------------------------------------------------------------------------------------------------------------- commands
LONGER = (*TINY, "checkpoint.every=1", "stages=2", "staleness=2")


def epochs_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    timed = ("time/train_seconds", "throughput/units_per_second")
    return [{name: value for name, value in epoch.items() if name not in timed} for epoch in record["epochs"]]


@pytest.mark.full
def test_the_same_command_goes_on_after_a_kill(tmp_path: Path) -> None:
    """All processes at once, as with a power cut. Then the bits are those of a run that was never ended."""
    words = (*LONGER, "epochs=90")
    with command([*BENCH, *words, "runs_dir=killed"], tmp_path) as running:
        await_that(lambda: [*tmp_path.glob("killed/*/checkpoint/*.json")], lambda: running.stderr)
        for process in [*running.members()]:
            os.kill(process, signal.SIGKILL)
        running.process.wait()
    folder = next(tmp_path.glob("killed/*/events.jsonl")).parent
    assert not (folder / "record.json").exists()
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"event": "prog')
    for name in ("killed", "whole"):
        answer = said(tmp_path, *words, f"runs_dir={name}")
        assert answer.code == 0, answer.err
    killed, whole = (next(tmp_path.glob(f"{name}/*/record.json")).parent for name in ("killed", "whole"))
    record, other = (read_json(path / "record.json") for path in (killed, whole))
    weights, expected = torch.load(killed / "model.pt"), torch.load(whole / "model.pt")
    assert [name for name in expected if not torch.equal(weights[name], expected[name])] == []
    assert epochs_of(record) == epochs_of(other)
    (resumed,) = record["resumed"]
    assert resumed["step"] % record["epochs"][0]["step"] == 0
    assert 0 < resumed["step"] < record["epochs"][-1]["step"]
    assert other["resumed"] == []
    assert not (killed / "checkpoint").exists()
    assert not (whole / "checkpoint").exists()
    events = [json.loads(line) for line in (killed / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events if event["event"] in ("begun", "resumed", "finished")] == [
        "begun",
        "begun",
        "resumed",
        "finished",
    ]


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """The folder of an oracle's run that was interrupted behind its first epoch's checkpoint."""
    save = Checkpointer.save

    def interrupting(self: Checkpointer, step: int, state: State) -> bool:
        save(self, step, state)
        raise KeyboardInterrupt

    with patch.object(Checkpointer, "save", interrupting):
        assert said(tmp_path, *LONGER, "engine=reference").code == 130
    folder = next(tmp_path.glob("runs/*/events.jsonl")).parent
    assert (folder / "checkpoint").exists()
    assert (folder / "failure.json").exists()
    return folder


def test_an_oracle_goes_on_after_ctrl_c(tmp_path: Path, interrupted: Path) -> None:
    assert said(tmp_path, *LONGER, "engine=reference").code == 0
    record = read_json(interrupted / "record.json")
    first = json.loads((interrupted / "events.jsonl").read_text().splitlines()[0])
    assert [each["step"] for each in record["resumed"]] == [record["epochs"][0]["step"]]
    assert record["resumed"][0]["time"] >= first["time"]
    assert not (interrupted / "failure.json").exists()


def test_force_begins_anew(tmp_path: Path, interrupted: Path) -> None:
    assert said(tmp_path, *LONGER, "engine=reference", "force=true").code == 0
    assert read_json(interrupted / "record.json")["resumed"] == []
