"""Flush points lie behind every epoch, and so often within one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.plan.stretches import stretches


def test_an_epoch_is_a_stretch() -> None:
    assert stretches(10, 4) == [range(4), range(4, 8), range(8, 10)]
    assert stretches(8, 4) == [range(4), range(4, 8)]


def test_an_epoch_is_cut_from_its_beginning() -> None:
    assert stretches(9, 5, 2) == [range(2), range(2, 4), range(4, 5), range(5, 7), range(7, 9)]
    assert stretches(9, 5, 7) == stretches(9, 5)


@given(st.integers(1, 60), st.integers(1, 20), st.none() | st.integers(1, 25))
def test_stretches_are_the_run_in_pieces(steps: int, per_epoch: int, flush_every: int | None) -> None:
    found = stretches(steps, per_epoch, flush_every)
    assert [step for stretch in found for step in stretch] == [*range(steps)]
    assert all(0 < len(stretch) <= (flush_every or per_epoch) for stretch in found)
    assert all(stretch[0] // per_epoch == stretch[-1] // per_epoch for stretch in found)
