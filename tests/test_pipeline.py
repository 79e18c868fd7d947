"""The pipeline clock against tables written out and against a simulation that knows hops only, not formulas."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.plan import clock
from bench.plan.clock import Clock

# One row per stage, one column per tick, five batches.
SCHEDULES = """
stages 1 staleness 0
F0B0 F1B1 F2B2 F3B3 F4B4

stages 1 staleness 1
F0B0 F1B1 F2B2 F3B3 F4B4

stages 1 staleness 2
F0B0 F1B1 F2B2 F3B3 F4B4

stages 1 staleness 3
F0B0 F1B1 F2B2 F3B3 F4B4

stages 1 staleness 4
F0B0 F1B1 F2B2 F3B3 F4B4

stages 2 staleness 0
F0B0 F1B1 F2B2 F3B3 F4B4
F0B0 F1B1 F2B2 F3B3 F4B4

stages 2 staleness 1
F0   F1B0 F2B1 F3B2 F4B3 B4
F0B0 F1B1 F2B2 F3B3 F4B4 .

stages 2 staleness 2
F0   F1   F2B0 F3B1 F4B2 B3   B4
.    F0B0 F1B1 F2B2 F3B3 F4B4 .

stages 2 staleness 3
F0   F1   F2   F3B0 F4B1 B2   B3   B4
.    F0B0 F1B1 F2B2 F3B3 F4B4 .    .

stages 2 staleness 4
F0   F1   F2   F3   F4B0 B1   B2   B3   B4
.    .    F0B0 F1B1 F2B2 F3B3 F4B4 .    .

stages 3 staleness 0
F0B0 F1B1 F2B2 F3B3 F4B4
F0B0 F1B1 F2B2 F3B3 F4B4
F0B0 F1B1 F2B2 F3B3 F4B4

stages 3 staleness 1
F0   F1   F2B0 F3B1 F4B2 B3   B4
F0   F1B0 F2B1 F3B2 F4B3 B4   .
F0B0 F1B1 F2B2 F3B3 F4B4 .    .

stages 3 staleness 2
F0   F1   F2   F3   F4B0 B1   B2   B3   B4
.    F0   F1   F2B0 F3B1 F4B2 B3   B4   .
.    .    F0B0 F1B1 F2B2 F3B3 F4B4 .    .

stages 3 staleness 3
F0   F1   F2   F3   F4   .    B0   B1   B2   B3   B4
.    F0   F1   F2   F3B0 F4B1 B2   B3   B4   .    .
.    .    F0B0 F1B1 F2B2 F3B3 F4B4 .    .    .    .

stages 3 staleness 4
F0   F1   F2   F3   F4   .    .    .    B0   B1   B2   B3   B4
.    .    F0   F1   F2   F3   F4B0 B1   B2   B3   B4   .    .
.    .    .    .    F0B0 F1B1 F2B2 F3B3 F4B4 .    .    .    .

stages 4 staleness 0
F0B0 F1B1 F2B2 F3B3 F4B4
F0B0 F1B1 F2B2 F3B3 F4B4
F0B0 F1B1 F2B2 F3B3 F4B4
F0B0 F1B1 F2B2 F3B3 F4B4

stages 4 staleness 1
F0   F1   F2   F3B0 F4B1 B2   B3   B4
F0   F1   F2B0 F3B1 F4B2 B3   B4   .
F0   F1B0 F2B1 F3B2 F4B3 B4   .    .
F0B0 F1B1 F2B2 F3B3 F4B4 .    .    .

stages 4 staleness 2
F0   F1   F2   F3   F4   .    B0   B1   B2   B3   B4
.    F0   F1   F2   F3   F4B0 B1   B2   B3   B4   .
.    .    F0   F1   F2B0 F3B1 F4B2 B3   B4   .    .
.    .    .    F0B0 F1B1 F2B2 F3B3 F4B4 .    .    .

stages 4 staleness 3
F0   F1   F2   F3   F4   .    .    .    .    B0   B1   B2   B3   B4
.    F0   F1   F2   F3   F4   .    B0   B1   B2   B3   B4   .    .
.    .    F0   F1   F2   F3B0 F4B1 B2   B3   B4   .    .    .    .
.    .    .    F0B0 F1B1 F2B2 F3B3 F4B4 .    .    .    .    .    .

stages 4 staleness 4
F0   F1   F2   F3   F4   .    .    .    .    .    .    .    B0   B1   B2   B3   B4
.    .    F0   F1   F2   F3   F4   .    .    .    B0   B1   B2   B3   B4   .    .
.    .    .    .    F0   F1   F2   F3   F4B0 B1   B2   B3   B4   .    .    .    .
.    .    .    .    .    .    F0B0 F1B1 F2B2 F3B3 F4B4 .    .    .    .    .    .
"""

Rows = list[list[str]]


def literal_schedules() -> dict[tuple[int, int], Rows]:
    blocks = [block.splitlines() for block in SCHEDULES.strip().split("\n\n")]
    headers = [block[0].split() for block in blocks]
    return {
        (int(header[1]), int(header[3])): [row.split() for row in block[1:]]
        for header, block in zip(headers, blocks, strict=True)
    }


def rows_of(clock: Clock) -> Rows:
    """The clock's own table in the form of the literal ones."""
    return [[cell(*ticks[stage]) for ticks in clock.table()] for stage in range(clock.stages)]


def cell(forward: int | None, backward: int | None) -> str:
    parts = [f"{name}{batch}" for name, batch in (("F", forward), ("B", backward)) if batch is not None]
    return "".join(parts) or "."


class Simulation(NamedTuple):
    """What stages do that merely pass on what arrives: [tick][stage] pairs, and per stage what they count."""

    table: list[list[tuple[int | None, int | None]]]
    staleness: list[dict[int, int]]
    most_in_flight: list[int]


def simulate(stages: int, staleness: int, batches: int) -> Simulation:
    """Run the pipeline by sending messages that arrive a hop later, counting every stage's updates."""
    hops = staleness // 2, staleness - staleness // 2
    activations: defaultdict[tuple[int, int], int | None] = defaultdict(lambda: None)
    gradients: defaultdict[tuple[int, int], int | None] = defaultdict(lambda: None)
    updates = [0] * stages
    forward_at: list[dict[int, int]] = [{} for _ in range(stages)]
    found: list[dict[int, int]] = [{} for _ in range(stages)]
    most_in_flight = [0] * stages
    table: list[list[tuple[int | None, int | None]]] = []
    while min(updates) < batches:
        tick = len(table)
        arrived = [tick if stage == 0 and tick < batches else None for stage in range(stages)]
        for stage in range(stages):
            if stage:
                arrived[stage] = activations[stage, tick]
            if (batch := arrived[stage]) is not None:
                forward_at[stage][batch] = updates[stage]
                activations[stage + 1, tick + hops[0]] = batch
        most_in_flight = [max(pair) for pair in zip(most_in_flight, map(len, forward_at), strict=True)]
        gradients[stages - 1, tick] = arrived[-1]
        for stage in reversed(range(stages)):
            if (batch := gradients[stage, tick]) is not None:
                found[stage][batch] = updates[stage] - forward_at[stage].pop(batch)
                updates[stage] += 1
                gradients[stage - 1, tick + hops[1]] = batch
        table.append([(arrived[stage], gradients[stage, tick]) for stage in range(stages)])
    return Simulation(table, found, most_in_flight)


clocks = st.builds(Clock, st.integers(1, 6), st.integers(0, 7), st.integers(0, 40))


@pytest.mark.parametrize(("stages", "staleness"), literal_schedules())
def test_the_schedule_is_the_literal_one(stages: int, staleness: int) -> None:
    assert rows_of(Clock(stages, staleness, 5)) == literal_schedules()[stages, staleness]


def test_every_small_schedule_is_written_out() -> None:
    assert set(literal_schedules()) == {(stages, staleness) for stages in range(1, 5) for staleness in range(5)}


def test_the_table_of_the_docstring_is_the_schedule() -> None:
    assert clock.__doc__
    lines = [line.split() for line in clock.__doc__.splitlines() if line.startswith("    ")]
    ticks, *stages = lines
    assert ticks == ["tick", *map(str, range(10))]
    assert [row[:2] for row in stages] == [["stage", str(stage)] for stage in range(3)]
    assert [row[2:] for row in stages] == rows_of(Clock(3, 2, 6))


@given(clocks)
def test_the_clock_does_what_messages_do(clock: Clock) -> None:
    simulation = simulate(clock.stages, clock.staleness, clock.batches)
    assert clock.table() == simulation.table
    for stage in range(clock.stages):
        counted = simulation.staleness[stage]
        assert {batch: clock.staleness_of(stage, batch) for batch in range(clock.batches)} == counted
        assert clock.histogram(stage) == {lag: list(counted.values()).count(lag) for lag in set(counted.values())}
        assert simulation.most_in_flight[stage] == min(clock.versions(stage), clock.batches)
        assert clock.versions(stage) == max(counted.values(), default=0) + 1


@given(clocks)
def test_busy_ticks_are_those_with_a_pass(clock: Clock) -> None:
    table = clock.table()
    for stages in ([0], [clock.stages - 1], range(clock.stages)):
        passes = [any(row[stage] != (None, None) for stage in stages) for row in table]
        assert clock.busy(*stages) == [tick for tick, there in enumerate(passes) if there]


def test_idle_ticks_cost_nothing() -> None:
    clock = Clock(stages=2, staleness=10**15, batches=3)
    assert clock.busy(0) == [0, 1, 2, 10**15, 10**15 + 1, 10**15 + 2]
    assert clock.versions(0) == clock.in_flight(0, 1) == 3


@given(clocks)
def test_every_batch_runs_once_each_way_in_order(clock: Clock) -> None:
    table = clock.table()
    for stage in range(clock.stages):
        for way in range(2):
            ran = [batch for ticks in table if (batch := ticks[stage][way]) is not None]
            assert ran == list(range(clock.batches))


@given(clocks)
def test_nothing_runs_before_what_it_depends_on(clock: Clock) -> None:
    forward, backward = ticks_of(clock)
    assert clock.forward_hop + clock.backward_hop == clock.staleness
    assert clock.backward_hop - clock.forward_hop in (0, 1)
    for batch in range(clock.batches):
        for stage in range(clock.stages - 1):
            assert forward[stage + 1, batch] - forward[stage, batch] == clock.forward_hop
            assert backward[stage, batch] - backward[stage + 1, batch] == clock.backward_hop
        assert forward[clock.stages - 1, batch] == backward[clock.stages - 1, batch]
        for stage in range(clock.stages):
            assert backward[stage, batch] - forward[stage, batch] == clock.lag(stage)


def ticks_of(clock: Clock) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]]:
    """(stage, batch) -> tick, of the forwards and of the backwards."""
    forward: dict[tuple[int, int], int] = {}
    backward: dict[tuple[int, int], int] = {}
    for tick, row in enumerate(clock.table()):
        for stage, (ahead, behind) in enumerate(row):
            if ahead is not None:
                forward[stage, ahead] = tick
            if behind is not None:
                backward[stage, behind] = tick
    return forward, backward


@given(clocks.filter(lambda clock: clock.batches > 0))
def test_the_pipeline_fills_and_drains(clock: Clock) -> None:
    forward, backward = ticks_of(clock)
    assert forward[0, 0] == 0
    assert max(backward.values()) == backward[0, clock.batches - 1] == clock.ticks - 1
    assert clock.ticks - 1 == clock.batches - 1 + clock.staleness * (clock.stages - 1)
    for stage in range(clock.stages):
        assert [clock.forward(stage, tick) for tick in (-1, clock.ticks)] == [None, None]
        assert [clock.backward(stage, tick) for tick in (-1, clock.ticks)] == [None, None]


def test_staleness_by_hand() -> None:
    clock = Clock(stages=3, staleness=2, batches=6)
    assert [clock.lag(stage) for stage in range(3)] == [4, 2, 0]
    assert [clock.versions(stage) for stage in range(3)] == [5, 3, 1]
    assert [clock.staleness_of(0, batch) for batch in range(6)] == [0, 1, 2, 3, 4, 4]
    assert [clock.histogram(stage) for stage in range(3)] == [
        {0: 1, 1: 1, 2: 1, 3: 1, 4: 2},
        {0: 1, 1: 1, 2: 4},
        {0: 6},
    ]


def test_no_batches_take_no_ticks() -> None:
    assert Clock(stages=3, staleness=2, batches=0).ticks == 0
    assert Clock(stages=3, staleness=2, batches=0).table() == []
    assert Clock(stages=3, staleness=2, batches=0).histogram(0) == {}


@pytest.mark.parametrize(
    ("stages", "staleness", "batches", "message"),
    [
        (0, 2, 5, "stages=0 must be at least 1"),
        (3, -1, 5, "staleness=-1 must be at least 0"),
        (3, 2, -5, "batches=-5 must be at least 0"),
    ],
)
def test_a_wrong_clock_is_refused(stages: int, staleness: int, batches: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Clock(stages, staleness, batches)


@pytest.mark.parametrize(
    ("stages", "staleness", "replicas", "expected"),
    [
        (1, 2, 4, [True]),
        (3, 0, 4, [True, True, True]),
        (3, 1, 4, [True, True, True]),
        (3, 2, 4, [False, False, True]),
        (3, 3, 2, [False, False, True]),
        (3, 2, 1, [True, True, True]),
    ],
)
def test_order_in_a_tick(stages: int, staleness: int, replicas: int, expected: list[bool]) -> None:
    clock = Clock(stages, staleness, 5)
    assert [clock.forward_first(stage, replicas) for stage in range(stages)] == expected


def seconds_per_tick(clock: Clock, forward_first: list[bool], delay: int = 0) -> float:
    """Pace of a full pipeline whose forwards take 1 second, backwards 2 and messages ``delay``."""

    @cache
    def done(way: str, stage: int, tick: int) -> float:
        if tick < 0:
            return 0
        runs_first = (way == "F") == forward_first[stage]
        free = done("B" if way == "F" else "F", stage, tick - 1 if runs_first else tick)
        if way == "F":
            arrival = done("F", stage - 1, tick - clock.forward_hop) + delay if stage else 0
            return 1 + max(free, arrival)
        last = stage == clock.stages - 1
        return 2 + max(free, 0 if last else done("B", stage + 1, tick - clock.backward_hop) + delay)

    return (done("B", 0, 40) - done("B", 0, 20)) / 20


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_the_order_lets_no_stage_wait(stages: int) -> None:
    backward_first = [*[False] * (stages - 1), True]
    for staleness, replicas in [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2)]:
        clock = Clock(stages, staleness, 5)
        order = [clock.forward_first(stage, replicas) for stage in range(stages)]
        assert seconds_per_tick(clock, order) == 3
    assert seconds_per_tick(Clock(stages, 0, 5), [True] * stages) == 3 * stages
    assert seconds_per_tick(Clock(stages, 1, 5), backward_first) == 6


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_forward_first_gives_messages_time_to_arrive(stages: int) -> None:
    clock = Clock(stages, 2, 5)
    assert seconds_per_tick(clock, [True] * stages, delay=1) == 3
    assert seconds_per_tick(clock, [*[False] * (stages - 1), True], delay=1) == 4
