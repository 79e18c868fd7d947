"""How long a dry run says that a run will take: the forecast of its updates, its evaluation, and its start."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from bench.config import RunConfig
from bench.engine.profile import Layer
from bench.engine.transport.message import Message
from bench.study.predict.estimate import RUN_SECONDS, WALKED, duration, estimate
from tests.tiny import config

LAYERS = [Layer(Message.like(torch.zeros(1)), 1.0, 2.0) for _ in range(4)]
TESTS = 2 * 10 / 4 * 4.0
"""Seconds of two evaluations of ten images, in batches of four through four layers of a second."""


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight cores on which each of four layers takes 1 + 2 seconds for a batch."""
    monkeypatch.setattr("bench.engine.assembly.layers_of", lambda *_: LAYERS)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))


def seconds_of(**changes: object) -> float:
    """Seconds beyond the start; where nothing else is asked, of two epochs of 24 updates."""
    run = config(**{"partition": [2] if changes.get("stages") == 2 else [], **changes})
    (seconds,) = estimate([run], [None])
    return seconds - RUN_SECONDS


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, 48 * 12),
        # By turns; one behind the other's second half at the end of a stretch.
        ({"stages": 2}, 48 * 12),
        ({"stages": 2, "staleness": 1}, 2 * (24 * 6 + 6)),
        ({"stages": 2, "method": "gpipe", "microbatches": 2}, 48 * 6 * 1.5),
        ({"stages": 2, "method": "1f1b", "microbatches": 4}, 48 * 6 * 1.25),
        ({"stages": 2, "engine": "reference", "staleness": 1}, 48 * 12),
    ],
)
def test_a_run_takes_what_its_updates_are_forecast_to_take(keys: dict[str, object], expected: float) -> None:
    assert seconds_of(**keys) == pytest.approx(expected + TESTS)


def test_agents_that_share_a_core_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert seconds_of(stages=2, staleness=1) == pytest.approx(48 * 12 + TESTS)


def test_replicas_share_the_images_and_the_evaluation() -> None:
    assert seconds_of(replicas=2) == pytest.approx(24 * 12 + TESTS / 2)


def test_a_network_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RunConfig] = []

    def layers_of(run: RunConfig, *_: object) -> Sequence[Layer]:
        asked.append(run)
        return LAYERS

    monkeypatch.setattr("bench.engine.assembly.layers_of", layers_of)
    runs = [config(seed=0), config(seed=1), config(batch_size=8)]
    assert len(estimate(runs, [None] * 3)) == 3
    assert [run.batch_size for run in asked] == [4, 8]


def test_a_long_run_takes_as_long_for_each_update() -> None:
    short, long = (
        seconds_of(epochs=1, data={**config().data.values(), "train_size": 4 * updates}, method="gpipe", stages=2)
        for updates in (WALKED, 5 * WALKED)
    )
    assert long - TESTS / 2 == pytest.approx(5 * (short - TESTS / 2))


def test_a_duration_is_read_in_hours_minutes_and_seconds() -> None:
    assert [duration(seconds) for seconds in (0.4, 61.6, 7200)] == ["0:00:00", "0:01:02", "2:00:00"]
