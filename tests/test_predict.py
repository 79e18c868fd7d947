"""``python -m bench predict``: what it asks for, what it prints, and what it makes of a record."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any
from unittest.mock import Mock, patch

import pytest
import torch

from bench.__main__ import main
from bench.engine.assembly import layers_of
from bench.engine.measure.messages import Paces
from bench.engine.measure.overhead import seconds_a_pass
from bench.engine.measure.piece import Measured, spread
from bench.engine.measure.speed import Halves, Passes, Speed, joined_speed, mean_speed
from bench.engine.profile import Layer
from bench.engine.transport.message import Message
from bench.plan.forecast.costs import Link, Pace
from bench.record.folder import RunFolder
from bench.study.predict.links import Links, neighbour_links
from bench.study.predict.links import _exchange as exchange
from bench.study.predict.speedups import speedups
from bench.study.predict.workload import Way, Workload, buckets, way_of
from bench.study.sweep.compose import compose, single
from bench.study.verbs.predict import figures, replay
from bench.system.call import Call
from tests.commands import TINY
from tests.records import record_of
from tests.tiny import method_of

NETWORK = ("--bandwidth=10", "--latency=20")
FREE = Links(Link(), Link())
WRONG = {
    "--bandwidth=0 --latency=1": "--bandwidth=0.0: must be a finite number of Gbit/s above 0, given with --latency",
    "--bandwidth=inf --latency=1": "--bandwidth=inf: must be a finite number of Gbit/s above 0",
    "--latency=1": "--bandwidth=None: must be a finite number of Gbit/s above 0, given with --latency",
    "--bandwidth=1": "--latency=None: must be a finite number of microseconds, given with --bandwidth",
    "--bandwidth=1 --latency=-2": "--latency=-2.0: must be a finite number of microseconds, given with --bandwidth",
    "--bandwidth=fast": "argument --bandwidth: invalid float value: 'fast'",
    "--jitter=-1": "--jitter=-1.0: must be a finite number, 0.1 for a tenth of a stage's time, at least 0",
    "--jitter=nan": "--jitter=nan: must be a finite number",
    "-m --nodes=0": "--nodes=0: must be at least 1",
    "--cores=-1": "--cores=-1: must be at least 1",
    "-m --launch=-1": "--launch=-1.0: must be a finite number, at least 0",
    "-m --failures=0": "--failures=0.0: must be a finite number, above 0",
    "--checkpoint=inf": "--checkpoint=inf: must be a finite number, at least 0",
    "-m --every=3": "--every=3.0: must be given with --checkpoint, the seconds that one takes",
    "-m stages=1,2 --cores=1": "--nodes=1: stages=2 replicas=1 need 2 cores or GPUs, and there are 1 times 1; allowed",
    "--study trials=0": "trials=0: must be greater than or equal to 1",
    "engine=reference": "engine='reference': predicted is distributed, agents with a core or GPU each",
    "averaging=gossip replicas=2": "averaging='gossip': predicted is allreduce",
    "stages=15": "stages=15: may be at most 14, the layers of model=resnet",
    "--results=a_file": "--results='a_file': must be a folder that can be written (File exists)",
}


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


MEASURED: dict[str, Any] = {"_layers": {}, "_speeds": {}, "_schedules": {}}
"""What was measured of the tiny network, by whichever test asked first."""


@pytest.fixture
def measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one prediction has measured the others need not measure again."""
    monkeypatch.setattr("bench.study.verbs.predict.Workload", partial(Workload, **MEASURED))


@pytest.mark.parametrize(("typed", "message"), WRONG.items())
def test_a_wrong_question_is_told_in_one_line(typed: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a_file").touch()
    assert main(["predict", *TINY, *typed.split()]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"bench: {message}")
    assert said.err.count("\n") == 1
    assert [path.name for path in Path().iterdir() if path.name != "results"] == ["a_file"]


def rows_of(printed: str) -> list[list[str]]:
    """The cells of the tables' lines."""
    lines = [line for line in printed.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.usefixtures("measured_once")
def test_a_prediction_is_a_table_and_a_picture(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", *TINY, *NETWORK, "stages=2", "replicas=2", "--jitter=0.1", "--results=there"]
    assert main(words) == 0
    said = capsys.readouterr()
    header, asked, *others = rows_of(said.out)
    assert header[:6] == ["method", "K", "S", "batch", "staleness", "microbatches"]
    assert asked[:6] == ["decoupled", "2", "2", "4", "2", "1"]
    assert {row[0] for row in others} == {"ddp", "decoupled", "gpipe", "1f1b", "interleaved_1f1b", "zero_bubble"}
    assert ["ddp", "1", "4", "2", "0", "1"] in [row[:6] for row in others]
    assert all(float(row[6]) > 0 and 0 < float(row[7]) <= 1 for row in [asked, *others])
    assert "a link of 10 Gbit/s and 20 us an agent" in said.out
    assert "there is no such run to compare with" in said.out
    assert said.err == ""
    assert Path("there/prediction.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("measured_once")
def test_a_busy_machine_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (1000.0, 0.0, 0.0))
    assert main(["predict", *TINY, *NETWORK, "stages=1"]) == 0
    assert capsys.readouterr().err.startswith("bench: 1000.0 of ")


@pytest.mark.usefixtures("measured_once")
def test_one_agent_is_compared_with_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", *TINY, *NETWORK, "stages=1"]) == 0
    assert [row[:3] for row in rows_of(capsys.readouterr().out)[1:]] == [["decoupled", "1", "1"], ["ddp", "1", "1"]]


# ------------------------------------------------------------------------------------------------------ beside a record
def made_up(words: tuple[str, ...], staleness: int) -> dict[str, Any]:
    """Two epochs of three batches; their stages take 1 + 2 and 1 + 2 seconds."""
    seconds = {"forward": 6.0, "backward": 12.0}
    parts = {0: (0, 1, 96), 1: (2, 4, 0)}
    names = ("first_layer", "last_layer", "message_bytes")
    record = record_of(compose([*words, f"staleness={staleness}"]), 1.25, [0.1, 0.2])
    record["epochs"] = [epoch | {"step": 3 * number} for number, epoch in enumerate(record["epochs"], start=1)]
    record["partition"] = [{"stage": stage, **dict(zip(names, part, strict=True))} for stage, part in parts.items()]
    record["agents"] = [agent | {"seconds": seconds} for agent in record["agents"][::-1]]
    locks = {"forward": 0.04, "backward": 0.1, "update": 0.0}
    record["metrics"] |= {f"locking/{lock}_fraction": share for lock, share in locks.items()}
    record["metrics"]["throughput/efficiency"] = 0.6
    return record


def workload_of(words: tuple[str, ...], staleness: int, links: Links = FREE) -> Workload:
    return Workload(compose([*words, f"staleness={staleness}"]), None, links, 0.0)


PAIR = (*TINY, "stages=2")


@pytest.mark.parametrize(
    ("staleness", "expected"),
    [
        # 18 seconds each by turns; stage 1 ends at 16.
        (0, [24 / 36, 0.5, (0 + 14 / 32) / 2, (18 / 36) / 2, 0.0]),
        # As in tests/test_throughput.py: 12 seconds, of which stage 0 waits for 3, and stage 1 for 1 of 10.
        (1, [24 / 24, 0.75, (0 + 1 / 10) / 2, (3 / 12) / 2, 0.0]),
    ],
)
def test_a_record_is_walked_with_its_own_seconds(staleness: int, expected: list[float]) -> None:
    found = figures(replay(made_up(PAIR, staleness), workload_of(PAIR, staleness)), units=4)
    assert found == pytest.approx(expected)


def folder_of(words: Sequence[str]) -> RunFolder:
    point = single(words)
    return point.settings.folder(point.config)


@pytest.mark.usefixtures("measured_once")
def test_a_record_is_printed_beside_the_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    words = (*PAIR, "runs_dir=made")
    record = made_up(words, 1)
    folder_of([*words, "staleness=1"]).write_record(record)
    assert main(["predict", *words, "staleness=1", "--bandwidth=1e9", "--latency=0", "--jitter=0"]) == 0
    table = rows_of(capsys.readouterr().out)[-6:]
    assert table[0] == ["figure", "measured", "predicted", "error", "predicted with its own seconds", "error"]
    assert [[row[0], row[1], *row[4:]] for row in table[1:]] == [
        ["units/s", "1.25", "1", "-20.0 %"],
        ["efficiency", "0.6", "0.75", "+25.0 %"],
        ["forward lock", "0.04", "0.05", "+1.0 points"],
        ["backward lock", "0.1", "0.125", "+2.5 points"],
        ["update lock", "0", "0", "+0.0 points"],
    ]


@pytest.mark.usefixtures("measured_once")
def test_a_lock_that_is_newer_than_a_record_is_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    record = made_up((*PAIR, "runs_dir=made"), 1)
    del record["metrics"]["locking/update_fraction"]
    folder_of([*PAIR, "runs_dir=made", "staleness=1"]).write_record(record)
    assert main(["predict", *PAIR, "runs_dir=made", "staleness=1", *NETWORK]) == 0
    found = [row[0] for row in rows_of(capsys.readouterr().out)]
    assert found[-4:] == ["units/s", "efficiency", "forward lock", "backward lock"]


@pytest.mark.usefixtures("measured_once")
def test_agents_that_share_cores_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    record = made_up(PAIR, 1) | {"environment": {"oversubscribed": True}}
    folder_of([*PAIR, "staleness=1"]).write_record(record)
    assert main(["predict", *PAIR, "staleness=1", *NETWORK]) == 0
    assert "Its agents shared cores, which is not predicted." in capsys.readouterr().out


@pytest.mark.usefixtures("measured_once")
def test_a_broken_record_is_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_of([*PAIR, "staleness=1"])
    folder.path.mkdir(parents=True)
    folder.record.write_text("{")
    assert main(["predict", *PAIR, "staleness=1", *NETWORK]) == 0
    said = capsys.readouterr()
    assert f"passed over: {folder.record}" in said.err
    assert "there is no such run to compare with" in said.out


# ------------------------------------------------------------------------------------------------------------ its parts
def speed_of(costs: list[tuple[float, float, int, int]]) -> Speed:
    """The speed of layers given as (forward, backward, numbers handed on, parameter bytes)."""
    layers = [
        Layer(Message.like(torch.empty(size, dtype=torch.uint8)), forward, back) for forward, back, size, _ in costs
    ]
    passes = [Passes(forward, back) for forward, back, *_ in costs]
    held = [Passes(10 * forward, 10 * back) for forward, back in passes]
    halves = [Halves(20 * back, 30 * back) for _, back in passes]
    return Speed(layers, passes, held, halves, [parameters for *_, parameters in costs], 0.5, 0.01, 0.02, 0.1)


def know(workload: Workload, batch_size: int, *speeds: Speed) -> None:
    """Put speeds into a workload as if they had been measured: of an agent alone, and of two at the same time."""
    for together, speed in zip((1, 2), (speeds[0], speeds[-1]), strict=True):
        for pieces in (1, 2):
            workload._speeds[batch_size, together, pieces] = speed
    for how in ("measured", "counted"):
        workload._layers[batch_size, how] = speeds[0].layers


def test_stages_are_sums_of_layers() -> None:
    """The layers are as with other batches in flight, where there is a delay; the last stage has none."""
    workload = workload_of(
        (*TINY, "partition=[1]", "stages=2"),
        2,
        Links(Link(), Link(), Pace(0.5, 0.1), Pace(0.25, 0.1), Pace(1, 0.01)),
    )
    know(workload, 4, speed_of([(1, 2, 10, 100), (3, 4, 20, 0), (5, 6, 30, 300)]))
    first, second = workload.setup(way_of(workload.config)).stages
    assert (first.forward, first.backward, first.update) == (10, 20 + 1, 2)
    assert (second.forward, second.backward, second.update) == (8, 10 + 3, 6)
    assert [(part.message_bytes, part.parameter_bytes) for part in (first, second)] == [(10, 100), (0, 300)]
    assert [(part.data, part.send, part.receive) for part in (first, second)] == [(0.5, 1.5, 1.25)] * 2
    assert [part.averaging for part in (first, second)] == [2, 4]


def test_jitter_is_measured_where_none_is_asked_for() -> None:
    """It is the whole batch's, also where microbatches are timed; and it moves with the share of common work."""
    workload = Workload(compose([*TINY, "stages=2", "partition=[1]"]), None, FREE)
    speed = speed_of([(1, 2, 10, 0), (3, 4, 20, 0)])
    know(workload, 4, speed._replace(jitter=0.1), speed._replace(jitter=0.3))
    know(workload, 2, speed)
    way = Way(method_of("gpipe"), 2, 1, 4, 0, 2)
    alone, together = workload.setup(way, 1), workload.setup(way)
    assert (alone.jitter, together.jitter, alone.towards(together, 0.25).jitter) == pytest.approx((0.1, 0.3, 0.15))


def test_one_update_that_was_held_up_is_no_jitter() -> None:
    """On a shared machine it made GPipe's prediction 10% slower, as if every update differed as much from the next."""
    assert spread([3.0] * 9 + [8.0]) == 0.0
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]) == pytest.approx((6 - 2) / 2 / 4)
    normal = [NormalDist(2.0, 0.2).inv_cdf((number + 0.5) / 999) for number in range(999)]
    assert spread(normal) == pytest.approx(0.1 * NormalDist().inv_cdf(5 / 6), rel=0.01)


def test_recomputed_forwards_cost_where_there_is_a_delay() -> None:
    workload = workload_of((*TINY, "partition=[1]", "stages=2", "weights=recomputed"), 2)
    know(workload, 4, speed_of([(1, 2, 10, 0), (3, 4, 20, 0)]))
    assert [stage.backward for stage in workload.setup(way_of(workload.config)).stages] == [30, 4]


def test_ddp_has_its_buckets() -> None:
    """The first of a megabyte at least, the others of 25, in the order of the backward."""
    mega = 1 << 20
    speed = speed_of([(1, 2, 0, 30 * mega), (1, 3, 0, 20 * mega), (1, 1, 0, mega), (1, 2, 0, 0)])
    assert buckets(speed) == ((3 / 8, mega), (1.0, 50 * mega))
    assert buckets(speed_of([(1, 2, 0, 100)])) == ((1.0, 100),)


def test_speed_ups_are_over_one_agent() -> None:
    """With 64 images and batches of 4, 16 replicas have one update an epoch, and 32 none."""
    workload = workload_of((*TINY, "partition=[1,2]", "stages=3", "replicas=3"), 2)
    know(workload, 4, speed_of([(1, 1, 0, 0)] * 3)._replace(data=0.0))
    found = speedups(workload)
    assert (found.stages, found.replicas) == ([1, 2, 3], [1, 2, 3, 4, 8, 16])
    assert [row[0] for row in found.values] == pytest.approx([1, 2, 3 * 5 * 3 / 16 * 16 / 15, 4, 8, 16])
    assert found.values[0][2] < 3


def exchange_less(rank: int, store: Path) -> Paces:
    """What each of two processes runs, with a quarter of the rounds."""
    with patch("bench.engine.measure.messages.ROUNDS", 10):
        return exchange(rank, store)


def test_what_neighbours_exchange_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.study.predict.links._exchange", exchange_less)
    links = neighbour_links()
    assert links.stages.shared
    assert 0 < links.send.message + links.stages.latency < 1
    assert min(links.send.message, links.stages.latency) >= 0
    assert 0 <= links.replicas.latency < 1
    assert links.send.byte >= 0
    assert links.receive.seconds(1 << 20) == 0
    assert links.averaging.seconds(1 << 20) > 0
    assert links.replicas.bandwidth > 1e4


def test_microbatches_are_measured_at_their_own_size() -> None:
    workload = workload_of(PAIR, 0)
    workload.setup(Way(method_of("gpipe"), 2, 1, 4, 0, 2))
    assert sorted(workload._speeds) == [(2, 1, 2), (2, 2, 2), (4, 1, 2), (4, 2, 2)]


def test_a_microbatch_may_be_smaller_than_there_are_microbatches() -> None:
    """A part of one image was to be cut into four parts once more, and the row was left out."""
    workload = workload_of((*PAIR, "method=gpipe", "microbatches=4"), 0)
    assert workload.setup(way_of(workload.config)).microbatches == 4
    assert {size for size, *_ in workload._speeds} == {1, 4}


def test_zero_bubble_goes_backward_in_two_passes() -> None:
    """It has but one backward pass from the images on."""
    workload = workload_of((*TINY, "stages=4", "partition=[1,2,3]"), 0)
    for size in (2, 4):
        know(workload, size, speed_of([(1, 2, 10, 0), (3, 4, 20, 0), (5, 6, 30, 0), (7, 8, 40, 0), (1, 1, 0, 0)]))
    stages = workload.setup(Way(method_of("zero_bubble"), 2, 1, 4, 0, 2)).stages
    assert [(part.forward, part.backward, part.weights) for part in stages] == [
        (10, 0, 20),
        (30, 80, 120),
        (50, 120, 180),
        (80, 180, 270),
    ]


@pytest.mark.parametrize("method", ["gpipe", "1f1b", "interleaved_1f1b", "zero_bubble"])
def test_a_schedule_takes_time_for_itself(method: str) -> None:
    assert 0 < Call(_by_the_processor, method).result() < 0.1


def _by_the_processor(method: str) -> float:
    """Time a schedule by the processor's seconds: what others take meanwhile is not in them."""
    with patch("bench.engine.measure.overhead.time", Mock(perf_counter=time.process_time)):
        return seconds_a_pass(method_of(method))


def test_processes_agree_on_the_mean_of_what_they_measured() -> None:
    one, other = speed_of([(1, 2, 10, 100)]), speed_of([(3, 6, 10, 100)])._replace(data=1.5)
    both = mean_speed([one, other])
    assert (both.passes, both.data, both.collect, both.update) == ([Passes(2, 4)], 1.0, 0.01, 0.02)
    assert (both.held, both.halves) == ([Passes(20, 40)], [Halves(80, 120)])
    assert (both.layers, both.parameter_bytes) == (one.layers, [100])


def test_pieces_join_to_the_network() -> None:
    """Layers one after the other; seconds a byte weighted by bytes; and the first piece alone prepares data."""
    first, second = speed_of([(1, 2, 10, 100), (3, 4, 20, 0)]), speed_of([(5, 6, 30, 300)])
    both = joined_speed([first, second._replace(data=0.0, collect=0.05, update=0.06, jitter=0.3)])
    assert (both.layers, both.parameter_bytes) == ([*first.layers, *second.layers], [100, 0, 300])
    assert (both.passes, both.held) == ([*first.passes, *second.passes], [*first.held, *second.held])
    assert both.halves == [*first.halves, *second.halves]
    assert both[5:] == pytest.approx((0.5, (0.01 + 3 * 0.05) / 4, (0.02 + 3 * 0.06) / 4, 0.2))


@pytest.mark.parametrize("model", [("model.depth=8",), ("model=mlp", "model.layers=2", "model.hidden=4")])
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_network_is_measured_layer_by_layer(model: tuple[str, ...], pieces: int) -> None:
    """In one piece, or cut inside its first residual block. The first layer's input has no gradient; where it has no
    weights, it has no backward at all."""
    config = compose(["data=synthetic", "data.train_size=8", "batch_size=4", *model])
    dataset = config.data.load()
    layers = layers_of(config, dataset, "measured")
    spans = [(0, len(layers))] if pieces == 1 else [(0, 2), (2, len(layers))]
    speed = joined_speed([Measured(config, dataset, layers, span).speed() for span in spans])
    assert speed.layers == layers
    assert len(speed.passes) == len(speed.held) == len(speed.layers) == len(speed.parameter_bytes)
    for passes in (speed.passes, speed.held):
        assert all(min(layer) > 0 for layer in passes)
    assert speed.halves[0] == (0, 0)
    assert all(min(layer) > 0 for layer in speed.halves[1:])
    assert min(speed.data, speed.collect, speed.update) > 0
    assert speed.parameter_bytes == [layer.held.parameters for layer in layers]


def test_agents_are_measured_with_their_own_pieces() -> None:
    """Three processes for two pieces: the third has the first piece again."""
    workload = workload_of(PAIR, 0)
    speed = workload.speed(4, 3, 2)
    assert sorted(workload._speeds) == [(4, 1, 2), (4, 3, 2)]
    assert speed.layers == workload.layers(4, "measured")
    assert workload._speeds[4, 1, 2].parameter_bytes == speed.parameter_bytes == workload.parameter_bytes()
