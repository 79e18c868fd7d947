"""Which runs go at once on a machine: by tables, by brute force, and what must hold whatever is asked."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.plan.forecast.cluster import Cluster, Work, makespan
from bench.plan.placement import Need, Placement, Spot

CORES = ("0", "1", "2", "5")


def cores(*units: int) -> list[Need]:
    return [Need("cpu", each) for each in units]


needs = st.lists(st.builds(Need, st.sampled_from(["cpu", "cuda"]), st.integers(1, 5)), max_size=7)
machines = st.builds(
    lambda cpu, cuda: {"cpu": [f"core {n}" for n in range(cpu)], "cuda": [f"GPU {n}" for n in range(cuda)]},
    st.integers(1, 4),
    st.integers(0, 3),
)
most = st.one_of(st.none(), st.integers(1, 4))


def test_what_fits_goes_in_order_and_overtakes_what_does_not() -> None:
    room = Placement({"cpu": CORES})
    waiting = cores(3, 2, 1, 1)
    assert room.place(waiting) == (0, Spot("cpu", ("0", "1", "2")))
    assert room.place(waiting[1:]) == (1, Spot("cpu", ("5",)))
    assert room.place(waiting[1:2]) is None
    room.release(Spot("cpu", ("0", "1", "2")))
    assert room.place(waiting[1:2]) == (0, Spot("cpu", ("0", "1")))


def test_what_needs_more_than_there_is_goes_by_itself() -> None:
    room = Placement({"cpu": CORES})
    assert room.place(cores(1)) == (0, Spot("cpu", ("0",)))
    assert room.place(cores(5)) is None
    room.release(Spot("cpu", ("0",)))
    assert room.place(cores(5, 1)) == (0, Spot("cpu", ()))
    assert room.place(cores(1)) is None
    room.release(Spot("cpu", ()))
    assert room.place(cores(1)) is not None


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (3, 3), (9, 4), (None, 4)])
def test_there_are_never_more_than_asked_for_nor_than_units(limit: int | None, count: int) -> None:
    room = Placement({"cpu": CORES}, limit)
    placed = [room.place(cores(1)) for _ in range(6)]
    assert sum(each is not None for each in placed) == count
    assert room.at_once(cores(1) * 6) == count, "an empty machine's, whatever is placed now"
    assert room.at_once(cores(1) * 2) == min(count, 2)


@given(needs=needs, machine=machines, most=most, data=st.data())
def test_no_unit_has_two_runs_and_all_of_them_run(
    needs: list[Need], machine: dict[str, list[str]], most: int | None, data: st.DataObject
) -> None:
    room, waiting, ended = Placement(machine, most), list(needs), 0
    running: list[Spot] = []
    while waiting or running:
        while found := room.place(waiting):
            index, spot = found
            need = waiting.pop(index)
            alone = need.units > len(machine[need.kind])
            assert (spot.kind, len(spot.units)) == (need.kind, 0 if alone else need.units)
            assert not (alone and running)
            running.append(spot)
        assert running, "an empty machine has room for any"
        taken = [(spot.kind, unit) for spot in running for unit in spot.units]
        assert len(set(taken)) == len(taken)
        assert all(unit in machine[kind] for kind, unit in taken)
        assert most is None or len(running) <= most
        assert not any(not spot.units for spot in running) or len(running) == 1
        room.release(running.pop(data.draw(st.integers(0, len(running) - 1))))
        ended += 1
    assert ended == len(needs)


@given(needs=needs, machine=machines, most=most)
def test_the_first_that_fits_is_taken(needs: list[Need], machine: dict[str, list[str]], most: int | None) -> None:
    room, waiting = Placement(machine, most), list(needs)
    while fitting := [index for index, need in enumerate(waiting) if room.fits([need])]:
        assert room.fits(waiting)
        found = room.place(waiting)
        assert found is not None
        assert found[0] == fitting[0]
        waiting.pop(found[0])
    assert not room.fits(waiting)
    assert room.place(waiting) is None


@given(
    needs=st.lists(st.integers(1, 4).map(lambda units: Need("cpu", units)), max_size=6),
    seconds=st.lists(st.integers(1, 9).map(float), min_size=6, max_size=6),
)
def test_the_time_of_all_is_that_of_a_cluster_of_one_node(needs: list[Need], seconds: list[float]) -> None:
    works = [Work(each, need.units) for need, each in zip(needs, seconds, strict=False)]
    assert Placement({"cpu": CORES}).span(needs, seconds[: len(needs)]) == makespan(works, Cluster(1, len(CORES)))


def test_the_time_of_runs_of_which_some_go_by_themselves() -> None:
    assert Placement({"cpu": CORES}).span(cores(2, 5, 2), [3.0, 10.0, 4.0]) == 14.0
    assert Placement({"cpu": CORES}, 1).span(cores(1, 1), [3.0, 4.0]) == 7.0


def together(chosen: tuple[Need, ...], machine: dict[str, list[str]], most: int | None) -> bool:
    """Whether an empty machine holds all of these at once."""
    if len(chosen) == 1:
        return True
    asked = {kind: sum(need.units for need in chosen if need.kind == kind) for kind in machine}
    return all(asked[kind] <= len(units) for kind, units in machine.items()) and (most is None or len(chosen) <= most)


@given(needs=needs, machine=machines, most=most)
def test_the_most_at_once_are_those_of_brute_force(
    needs: list[Need], machine: dict[str, list[str]], most: int | None
) -> None:
    sizes = (n for n in range(len(needs), 0, -1) if any(together(c, machine, most) for c in combinations(needs, n)))
    assert Placement(machine, most).at_once(needs) == next(sizes, 0)
