"""Where an agent's time goes: sections that add up, and locks that are where somebody is slow."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from bench.engine.meter import Meter, Span
from bench.plan.clock import Clock
from bench.plan.sections import COMPUTE, KINDS, LOCKS
from tests.both import distributed
from tests.naps import NAP, napped
from tests.pool import Pool
from tests.test_equality import configured

UPDATES = 20


# ------------------------------------------------------------------------------------------------------------ the meter
class BusyMachine:
    """Stands in for ``time``: a clock that goes on by a quarter of a second whenever it is looked at."""

    def __init__(self) -> None:
        self._now = 0.0

    def sleep(self, seconds: float) -> None:
        self._now += seconds

    def perf_counter(self) -> float:
        self.sleep(0.25)
        return self._now

    process_time = perf_counter


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> BusyMachine:
    machine = BusyMachine()
    monkeypatch.setattr("bench.engine.meter.time", machine)
    return machine


def test_a_meter_adds_up_what_it_was_in(machine: BusyMachine) -> None:
    """A look ends each section. Of the looks that begin and end the stretch, three lie outside of any: ``other``."""
    meter = Meter(torch.device("cpu"))
    meter.start()
    for tick in range(3):
        meter.tick(tick)
        meter.enter("forward", tick)
        machine.sleep(2.0)
        meter.enter("backward_lock", tick)
        machine.sleep(1.0)
        meter.enter("other")
    wall = meter.stop()
    assert set(meter.seconds) == set(KINDS)
    assert {kind: seconds for kind, seconds in meter.seconds.items() if seconds} == {
        "forward": 3 * 2.25,
        "backward_lock": 3 * 1.25,
        "other": 4 * 0.25 + 3 * 0.25,
    }
    assert meter.wall_seconds == wall == sum(meter.seconds.values())
    assert [(span.kind, span.batch, span.tick) for span in meter.spans] == [
        (kind, batch, tick)
        for tick in range(3)
        for kind, batch in (("forward", tick), ("backward_lock", tick), ("other", -1))
    ]


def test_a_meter_stands_still_between_stretches(machine: BusyMachine) -> None:
    meter = Meter(torch.device("cpu"))
    walls = []
    for _ in range(2):
        meter.start()
        machine.sleep(1.0)
        walls.append(meter.stop())
        machine.sleep(64.0)
    assert all(1.0 < wall < 4.0 for wall in walls)
    assert meter.wall_seconds == sum(walls) == sum(meter.seconds.values())


def test_what_a_device_takes_beside_its_own_marks_counts_as_other(machine: BusyMachine) -> None:
    """A GPU's marks tell the time between them alone, and not that from the host's start and to its end."""
    meter = Meter(torch.device("cpu"))
    marks = iter([10.0, 12.0, 12.5])
    meter._now = lambda: next(marks)
    meter.start()
    meter.enter("forward", 0)
    machine.sleep(4.0)
    wall = meter.stop()
    assert wall > 4.0
    assert meter.seconds == {**dict.fromkeys(KINDS, 0.0), "forward": 0.5, "other": wall - 0.5}


def test_a_window_is_the_middle_of_the_first_stretch() -> None:
    meter = Meter(torch.device("cpu"), window=4)
    for ticks in (10, 3):
        meter.start()
        for tick in range(ticks):
            meter.tick(tick)
            meter.enter("forward", tick)
        meter.stop()
    assert [span.tick for span in meter.spans] == [3, 4, 5, 6]


def test_a_window_is_of_ticks_with_work() -> None:
    meter = Meter(torch.device("cpu"), window=4)
    meter.start()
    for tick in (0, 1, 2, 1000, 1001, 1002):
        meter.tick(tick)
        meter.enter("forward", tick)
    meter.stop()
    assert [span.tick for span in meter.spans] == [1, 2, 1000, 1001]


# ------------------------------------------------------------------------------------------------------------ real runs
def test_sections_of_a_run_add_up_to_its_wall_time(pool: Pool) -> None:
    (ran,) = distributed(pool, [configured(2, 2, staleness=2)])
    assert [agent["rank"] for agent in ran.agents] == [0, 1, 2, 3]
    for agent in ran.agents:
        assert set(agent["seconds"]) == set(KINDS)
        assert sum(agent["seconds"].values()) == pytest.approx(agent["wall_seconds"], rel=1e-9)
        assert all(agent["seconds"][kind] > 0 for kind in COMPUTE)
    fractions = [ran.metrics[f"locking/{name}_fraction"] for name in ("forward", "backward", "update")]
    assert ran.metrics["locking/total_fraction"] == pytest.approx(sum(fractions), rel=1e-12)
    for lock, fraction in zip(LOCKS.values(), fractions, strict=True):
        shares = [agent["seconds"][lock] / agent["wall_seconds"] for agent in ran.agents]
        assert fraction == pytest.approx(sum(shares) / 4, rel=1e-12)
    assert 0 < ran.metrics["throughput/efficiency"] <= 1


def test_spans_are_ordered_and_do_not_overlap(pool: Pool) -> None:
    (ran,) = distributed(pool, [configured(2, 2, staleness=2)])
    assert [(line["replica"], line["stage"]) for line in ran.timelines] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for line in ran.timelines:
        spans = [Span(*span) for span in line["spans"]]
        assert all(span.start <= span.stop for span in spans)
        assert all(one.stop <= other.start for one, other in pairwise(spans))
        assert all(one.tick <= other.tick for one, other in pairwise(spans))
        # Ten batches and two ticks of lag: each stage's whole first epoch fits into the window.
        assert {span.tick for span in spans} == set(Clock(2, 2, 10).busy(line["stage"]))
        assert [span.batch for span in spans if span.kind == "backward"] == list(range(10))
        assert [span.batch for span in spans if span.kind == "forward"] == list(range(10))


def test_without_staleness_both_stages_wait(pool: Pool, tmp_path: Path) -> None:
    """Each waits for what the other computes, and for nothing else."""
    (first, last), naps = napped(pool, tmp_path, configured(2, 1), 1, 0, "backward_lock")
    assert len(naps) == UPDATES
    assert first["backward_lock"] >= UPDATES * NAP
    assert first["forward_lock"] == first["update_lock"] == 0
    assert last["backward_lock"] == last["update_lock"] == 0
    (first, last), naps = napped(pool, tmp_path, configured(2, 1), 0, 1, "forward_lock")
    assert len(naps) == UPDATES
    assert last["forward_lock"] >= UPDATES * NAP
    assert last["backward_lock"] == last["update_lock"] == 0
    assert first["backward_lock"] > 0


@pytest.mark.parametrize("staleness", [1, 2])
def test_a_slow_stage_is_waited_for_by_its_neighbour(pool: Pool, tmp_path: Path, staleness: int) -> None:
    """It is in the end: the neighbour computes meanwhile, and messages ahead absorb the first moments."""
    run = configured(2, 1, staleness=staleness)
    (first, _), naps = napped(pool, tmp_path, run, 1, 0, "backward_lock")
    assert len(naps) == UPDATES
    assert first["backward_lock"] >= UPDATES * NAP
    (_, last), naps = napped(pool, tmp_path, run, 0, 1, "forward_lock")
    assert len(naps) == UPDATES
    assert last["forward_lock"] >= UPDATES * NAP


def test_a_slow_replica_is_waited_for_by_its_peer(pool: Pool, tmp_path: Path) -> None:
    """The peer is there first at every update."""
    (one, _), naps = napped(pool, tmp_path, configured(1, 2), 1, 0, "update_lock")
    assert len(naps) == UPDATES
    assert one["update_lock"] >= UPDATES * NAP
    assert one["forward_lock"] == one["backward_lock"] == 0
