"""Processes that measure together: a predicting command once waited ten minutes for one that was dead."""

from __future__ import annotations

import operator
import os
import signal
import time

import pytest

from bench.system.call import Call, Killed, results


def test_results_come_in_the_order_of_the_calls() -> None:
    assert results([Call(operator.add, 1, 2), Call(operator.neg, 4)]) == [3, -4]


def test_a_killed_process_ends_those_that_wait_for_it() -> None:
    """The first call is the one that waits: to ask for the results one by one would take its hour."""
    waits = Call(time.sleep, 3600)
    with pytest.raises(Killed, match=r"process \d+ was killed by SIGKILL"):
        results([waits, Call(signal.raise_signal, signal.SIGKILL)])
    with pytest.raises(Killed, match="killed by SIGKILL"):
        waits.result()


def test_an_error_of_one_is_raised_as_it_is() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        results([Call(time.sleep, 3600), Call(os.stat, "nowhere")])
