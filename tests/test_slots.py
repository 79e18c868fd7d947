"""Room in the channels: enough for stages that wait for one another's norms, by running their dependencies.

A stage is a list of operations, of which some wait for others: for a message, for a free slot, for the others' norms.
Such lists have one outcome whatever runs when (Kahn 1974), so that running each stage as far as it gets, in turn, finds
a deadlock if and only if there is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product

import pytest

from bench.plan.clock import SPARE, Clock

Operation = tuple[str, int, int]
"""What is done, by which channel (that of the boundary before stage k is k), with which batch."""
Room = dict[tuple[str, int], int]
"""Slots of each kind of message, by channel."""


def operations(clock: Clock, stage: int, forward_first: bool) -> Iterator[Operation]:
    """The order of ``engine/method/decoupled.py``, with an update that waits for all."""
    first, last = stage == 0, stage == clock.stages - 1
    for tick in clock.busy(stage):
        ahead, behind = clock.forward(stage, tick), clock.backward(stage, tick)
        for forwards in (forward_first, not forward_first):
            if forwards and ahead is not None:
                if not first:
                    yield "take activation", stage, ahead
                if not last:
                    yield "send activation", stage + 1, ahead
            if not forwards and behind is not None:
                if not last:
                    yield "take gradient", stage + 1, behind
                if not first:
                    yield "send gradient", stage, behind
                    yield "give back activation", stage, behind
                if not last:
                    yield "give back gradient", stage + 1, behind
        if behind is not None:
            yield "norms", stage, behind


def gets_through(
    clock: Clock, order: list[bool], room: dict[tuple[str, int], int], shared: bool, coupled: bool
) -> bool:
    """Whether all stages come to their ends.

    Args:
        shared: whether a sender waits for a slot to be given back; else for as old a message to be received.
        coupled: whether an update waits until all stages have their norms of the batch.
    """
    programs = [list(operations(clock, stage, order[stage])) for stage in range(clock.stages)]
    at, done = [0] * clock.stages, Counter[tuple[str, int]]()

    def may(kind: str, channel: int, batch: int) -> bool:
        verb, _, what = kind.partition(" ")
        if verb == "take":
            return done[f"send {what}", channel] > batch
        if verb == "send":
            freed = done[f"{'give back' if shared else 'take'} {what}", channel]
            return batch - freed < room[what, channel]
        return True

    moved = True
    while moved:
        moved = False
        for stage, program in enumerate(programs):
            while at[stage] < len(program):
                kind, channel, batch = program[at[stage]]
                if kind == "norms":
                    done[kind, stage] = max(done[kind, stage], batch + 1)
                    if coupled and any(done[kind, other] <= batch for other in range(clock.stages)):
                        break
                elif may(kind, channel, batch):
                    done[kind, channel] += 1
                else:
                    break
                at[stage], moved = at[stage] + 1, True
    return all(at[stage] == len(program) for stage, program in enumerate(programs))


def room_of(clock: Clock, shared: bool) -> Room:
    """The slots that there are, as the engine makes its channels: through memory, or those of a sender's alone."""
    found = {}
    for stage in range(1, clock.stages):
        for what, (depth, held) in (("activation", clock.room_forward(stage)), ("gradient", clock.room_backward())):
            found[what, stage] = depth + held if shared else depth
    return found


def orders(clock: Clock) -> list[list[bool]]:
    """That of one replica, that of several, and the backward first wherever it may be."""
    stages = range(clock.stages)
    found = [[clock.forward_first(stage, replicas) for stage in stages] for replicas in (1, 2)]
    return [*found, [clock.lag(stage) == 0 for stage in stages]]


SMALL = list(product(range(2, 6), range(5), range(1, 13)))
LONG = [(stages, staleness, 40) for stages in (2, 3) for staleness in (5, 6, 7, 8, 9)]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_no_stage_waits_for_ever(together: bool, shared: bool) -> None:
    """With updates that wait for all stages, and without."""
    for case in [*SMALL, *LONG]:
        clock = Clock(*case, together)
        for order in orders(clock):
            assert gets_through(clock, order, room_of(clock, shared), shared, together), (case, order)


def test_the_slots_of_runs_that_do_not_clip_are_too_few_at_long_delays() -> None:
    """A hop of c // 2 and two are c - 1 at most up to staleness 6."""
    for stages, staleness in product((2, 3, 4), range(1, 10)):
        clock = Clock(stages, staleness, 40)
        found = gets_through(clock, [True] * stages, room_of(clock, shared=True), shared=True, coupled=True)
        assert found is (clock.forward_hop + SPARE >= staleness - 1) is (staleness <= 6)


def test_the_fewest_slots_of_activations() -> None:
    """What a receiver holds, which is its lag and one; and where updates wait, the sender's lag: c - 1 more. The first
    backward comes after so many forwards. One slot less is a deadlock."""
    for (stages, staleness, batches), coupled in product(SMALL, (True, False)):
        clock, order = Clock(stages, staleness, batches, together=coupled), [True] * stages
        enough = room_of(clock, shared=True)
        for stage in range(1, stages):
            held, sent = min(clock.lag(stage) + 1, batches), min(clock.lag(stage - 1), batches - 1)
            enough["activation", stage] = max(held, sent) if coupled else held
        assert gets_through(clock, order, enough, True, coupled), clock
        for stage in range(1, stages):
            fewer = {**enough, ("activation", stage): enough["activation", stage] - 1}
            assert not gets_through(clock, order, fewer, True, coupled), (clock, stage)


def test_backwards_of_one_tick_leave_one_gradient_under_way() -> None:
    """Where all stages update together, its room is that of a hop of no tick; the activations' is of all the delay."""
    clock = Clock(3, 4, 40, together=True)
    assert (clock.forward_hop, clock.backward_hop) == (4, 0)
    assert (clock.room_backward(), clock.room_forward(1), clock.room_forward(2)) == ((2, 1), (6, 5), (6, 1))
    usual = Clock(3, 4, 40)
    assert (usual.room_backward(), usual.room_forward(1), usual.room_forward(2)) == ((4, 1), (4, 5), (4, 1))


@pytest.mark.parametrize(("stages", "staleness"), list(product(range(1, 5), range(5))))
def test_all_stages_update_by_a_batch_in_one_tick(stages: int, staleness: int) -> None:
    """Each stage's order is the usual one, and nothing runs before what it depends on."""
    clock, usual = Clock(stages, staleness, 9, together=True), Clock(stages, staleness, 9)
    for batch in range(9):
        ticks = {tick for tick in range(clock.ticks) for k in range(stages) if clock.backward(k, tick) == batch}
        assert len(ticks) == 1
    for stage in range(stages):
        assert clock.lag(stage) == usual.lag(stage) == clock.first_backward(stage) - clock.first_forward(stage)
        assert clock.histogram(stage) == usual.histogram(stage)
        assert clock.forward_first(stage, 2)
        assert [*operations(clock, stage, True)] == [*operations(usual, stage, True)]
    assert clock.first_forward(stages - 1) - clock.first_forward(0) == staleness * (stages - 1)
    assert clock.ticks == usual.ticks
