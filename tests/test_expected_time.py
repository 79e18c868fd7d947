"""How long runs take on a cluster that fails: worked by hand, and simulated."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.plan.forecast.cluster import Cluster, Work, makespan
from bench.plan.forecast.failures import best_interval, expected_seconds
from bench.study.predict.campaign import campaign, how_long
from bench.study.predict.surroundings import Surroundings
from tests.tiny import config


def test_without_failures_there_are_the_checkpoints_alone() -> None:
    """100 seconds in pieces of 30: three checkpoints, and none at the end; of 50, one; of 100, none."""
    assert [expected_seconds(100, interval, 2, 5, math.inf) for interval in (30, 50, 100, math.inf)] == [
        106,
        102,
        100,
        100,
    ]


def test_one_piece_takes_what_a_textbook_says() -> None:
    """Exponential failures: M e^(R/M) (e^(s/M) - 1), here with s = M log 2, and R = 0 or M log 3."""
    half = 50 * math.log(2)
    assert expected_seconds(half, math.inf, 0, 0, 50) == pytest.approx(50)
    assert expected_seconds(half, math.inf, 0, 50 * math.log(3), 50) == pytest.approx(150)


def test_pieces_add_up() -> None:
    """Two whole ones of 8 + 2 seconds and a last one of 4, with one failure in 10 seconds."""
    expected = 10 * math.exp(0.1) * (2 * (math.e - 1) + math.exp(0.4) - 1)
    assert expected_seconds(20, 8, 2, 1, 10) == pytest.approx(expected)


def test_rare_failures_cost_what_young_says() -> None:
    """To first order, each piece costs itself, half of it for each failure, and the restarts."""
    work, interval, checkpoint, restart, between = 36_000.0, 600.0, 4.0, 30.0, 1e6
    young = (work + 59 * checkpoint) * (1 + ((interval + checkpoint) / 2 + restart) / between)
    assert expected_seconds(work, interval, checkpoint, restart, between) == pytest.approx(young, rel=1e-6)


def test_what_never_ends_is_infinite() -> None:
    assert expected_seconds(1e6, math.inf, 0, 0, 100) == math.inf


def simulated(
    work: float, interval: float, checkpoint: float, restart: float, between: float, draw: np.random.Generator
) -> float:
    """The seconds of one run whose failures are drawn."""
    done = now = 0.0
    failure = draw.exponential(between)
    while done < work:
        piece = min(interval, work - done)
        end = now + piece + (checkpoint if done + piece < work else 0.0)
        if end <= failure:
            now, done = end, done + piece
            continue
        while failure < end:
            now = failure
            failure = now + draw.exponential(between)
            end = now + restart
        now = end
    return now


@pytest.mark.parametrize(
    ("interval", "checkpoint", "restart", "between"),
    [(10.0, 1.0, 2.0, 50.0), (25.0, 0.5, 0.0, 100.0), (math.inf, 0.0, 5.0, 60.0), (7.0, 2.0, 20.0, 30.0)],
)
def test_a_simulation_agrees(interval: float, checkpoint: float, restart: float, between: float) -> None:
    """4,000 runs of 100 seconds: the mean is within four standard errors, for these seeds."""
    draw = np.random.default_rng(0)
    runs = [simulated(100.0, interval, checkpoint, restart, between, draw) for _ in range(4000)]
    error = np.std(runs) / math.sqrt(len(runs))
    assert abs(np.mean(runs) - expected_seconds(100.0, interval, checkpoint, restart, between)) < 4 * error


@pytest.mark.parametrize(("checkpoint", "between"), [(1.0, 1000.0), (5.0, 36_000.0), (20.0, 400.0)])
def test_the_best_interval_is_the_best(checkpoint: float, between: float) -> None:
    """No other of the intervals around it, a percent apart, costs less, but for three percent to either side."""
    intervals = [best_interval(checkpoint, between) * 1.01**number for number in range(-70, 71)]
    rates = [math.expm1((interval + checkpoint) / between) / interval for interval in intervals]
    assert abs(rates.index(min(rates)) - 70) <= 3


def test_young_is_the_first_term() -> None:
    assert best_interval(1.0, 1e8) == pytest.approx(math.sqrt(2e8), rel=1e-3)
    assert best_interval(5.0, 2.0) == 2.0


# -------------------------------------------------------------------------------------------------------- side by side
NODE = Cluster(1, 4)


@pytest.mark.parametrize(
    ("works", "cluster", "seconds"),
    [
        ([(3, 1)] * 4, NODE, 3),
        ([(3, 1)] * 5, NODE, 6),
        # Two take all four; the third waits for the first to end, at 2.
        ([(2, 2), (5, 2), (4, 2)], NODE, 6),
        # The second does not fit beside the first, and the third overtakes it: 0..4 | 0..4, and then 4..7.
        ([(4, 3), (3, 2), (4, 1)], NODE, 7),
        # On two nodes of two, each has one of 2 and the last one begins when the shorter has ended.
        ([(6, 2), (1, 2), (3, 1)], Cluster(2, 2), 6),
        # One of six takes two whole nodes of four, and the next waits for it.
        ([(5, 6), (2, 1)], Cluster(2, 4), 7),
        ([(5, 6), (2, 1)], Cluster(3, 4), 5),
        ([], NODE, 0),
    ],
)
def test_runs_side_by_side(works: list[tuple[float, int]], cluster: Cluster, seconds: float) -> None:
    assert makespan([Work(*each) for each in works], cluster) == seconds


def test_a_cluster_may_be_too_small() -> None:
    with pytest.raises(ValueError, match=r"^a run takes 9 of 8$"):
        makespan([Work(1, 9), Work(1, 1)], Cluster(2, 4))


# ------------------------------------------------------------------------------------------------------------ the whole
PAIR = config(stages=2)
CLUSTER = Surroundings(Cluster(2, 4), launch=10.0, interval=math.inf, checkpoint=0.0, failures=math.inf)


def test_a_sweep_takes_what_its_runs_take_side_by_side() -> None:
    """Four pairs at a time, 100 seconds each and 10 of launch: five of them take two rounds, and a phase more one; and
    the command takes eight to start."""
    assert how_long([[(PAIR, 100.0)] * 5, [(PAIR, 3590.0)]], CLUSTER) == [
        "6 runs of up to 2 agents on 2 nodes of 4 cores or GPUs",
        "training: 1:08:10 one after the other, as the layers take now on this machine",
        "launches: 10 s a run",
        "checkpoints: none",
        "failures: none",
        "in all: about 1:03:48, with 27% in use",
    ]


def test_failures_and_checkpoints_cost_time() -> None:
    """A run of four hours, with a failure every ten hours and a checkpoint of 9 s every ten minutes."""
    around = Surroundings(Cluster(1, 2), launch=0.0, interval=600.0, checkpoint=9.0, failures=36_000.0)
    *_, checkpoints, failures, whole = how_long([[(PAIR, 4 * 3600.0)]], around)
    assert checkpoints == (
        "checkpoints: one every 10 minutes of training, 9 s each; every 13 minutes would cost least of the widest run"
    )
    first_order = (4 * 3600 + 23 * 9) * (1 + 609 / 2 / 36_000)
    assert failures == "failures: one every 10 hours of a node; 0.9% more time of the runs"
    hours, minutes, _ = whole.removeprefix("in all: about ").partition(",")[0].split(":")
    assert abs(int(hours) * 3600 + int(minutes) * 60 - first_order) < 60


def test_a_run_on_many_nodes_fails_with_any_of_them() -> None:
    around = Surroundings(Cluster(8, 1), launch=0.0, interval=math.inf, checkpoint=0.0, failures=8e4)
    assert around.seconds(1e4, 8) == pytest.approx(1e4 * math.expm1(1))
    assert around.seconds(1e4, 1) == pytest.approx(8e4 * math.expm1(1 / 8))


def test_what_fails_too_often_does_not_end() -> None:
    around = Surroundings(Cluster(1, 2), launch=1.0, interval=math.inf, checkpoint=0.0, failures=1.0)
    *_, failures, whole = how_long([[(PAIR, 1e5)]], around)
    assert failures.endswith("; without an end")
    assert whole == "in all: it would not end: failures come before the work is done"


def test_where_all_is_done_nothing_is_to_run() -> None:
    assert campaign([[]], CLUSTER) == ["all points have their records: nothing is to run"]
