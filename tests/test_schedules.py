"""The orders that are walked are those in which torch's schedules call their stages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.pipelining import Schedule1F1B, ScheduleGPipe, ScheduleInterleaved1F1B, ScheduleZBVZeroBubble

from bench.plan.forecast.costs import Setup, StageCost
from bench.plan.forecast.microbatches import levels
from bench.plan.forecast.orders import Kind, Pass
from tests.tiny import method_of

SCHEDULES: dict[str, Any] = {
    "gpipe": ScheduleGPipe,
    "1f1b": Schedule1F1B,
    "interleaved_1f1b": ScheduleInterleaved1F1B,
    "zero_bubble": ScheduleZBVZeroBubble,
}
TABLES: list[tuple[str, int, str]] = [
    ("gpipe", 2, "F0 F1 .  .  B0 B1 | .  F0 F1 B0 B1 ."),
    ("1f1b", 2, "F0 F1 .  B0 .  B1 | .  F0 B0 F1 B1 ."),
    ("1f1b", 3, "F0 F1 .  B0 F2 B1 .  B2 | .  F0 B0 F1 B1 F2 B2 ."),
    ("interleaved_1f1b", 2, "F0 F1 f0 f1 .  b0 .  b1 B0 B1 | .  F0 F1 f0 b0 f1 b1 B0 B1 ."),
    ("zero_bubble", 1, "F0 .  .  f0 b0 w0 .  .  B0 W0 | .  F0 f0 .  .  b0 w0 B0 W0 ."),
    ("zero_bubble", 2, "F0 F1 .  f0 b0 w0 f1 b1 w1 B0 W0 .  B1 W1 | .  F0 f0 F1 f1 b0 w0 B0 W0 b1 w1 B1 W1 ."),
    (
        "zero_bubble",
        3,
        "F0 F1 F2 f0 b0 w0 f1 b1 w1 B0 W0 f2 b2 w2 B1 W1 B2 W2 ."
        "| .  F0 f0 F1 f1 b0 w0 F2 B0 W0 f2 b1 w1 B1 b2 B2 W1 w2 W2",
    ),
]
"""What two agents do at each moment where every pass takes one; small letters are the second piece's."""


def setup_of(method: str, agents: int, microbatches: int) -> Setup:
    how = method_of(method)
    return Setup(how, [StageCost(1, 1, weights=1)] * (agents * how.pieces), microbatches=microbatches)


def orders(setup: Setup) -> list[list[Pass]]:
    return setup.method.orders(setup.agents, setup.microbatches)


@pytest.mark.parametrize(("method", "microbatches", "table"), TABLES)
def test_who_does_what_when(method: str, microbatches: int, table: str) -> None:
    setup = setup_of(method, 2, microbatches)
    ordered = orders(setup)
    passes = [item for order in ordered for item in order]
    moments = [
        {int(agent): passes[number] for agent, number in zip(level.agents, level.numbers, strict=True)}
        for level in levels(setup, ordered)
    ]

    def word(item: Pass | None) -> str:
        letter = item.kind[0].upper() if item else "."
        return f"{letter if item.stage < 2 else letter.lower()}{item.microbatch}" if item else letter

    rows = [" ".join(word(moment.get(agent)) for moment in moments) for agent in range(2)]
    assert [row.split() for row in rows] == [row.split() for row in table.split("|")]


class Recorded:
    """A stage that notes what it is asked to do, and has nothing to send or to receive."""

    def __init__(self, number: int, agent: int, setup: Setup, said: list[Pass]) -> None:
        self.stage_index, self.num_stages = number, len(setup.stages)
        self.group_rank, self.group_size = agent, setup.agents
        self.is_first, self.is_last = number == 0, number == self.num_stages - 1
        self.device, self.submod, self.has_backward = torch.device("cpu"), nn.Identity(), True
        self._said = said

    def _note(self, kind: Kind, microbatch: int) -> None:
        self._said.append(Pass(kind, self.stage_index, microbatch))

    def forward_one_chunk(self, microbatch: int, *_: Any, **__: Any) -> None:
        self._note("forward", microbatch)

    def backward_one_chunk(self, microbatch: int, **_: Any) -> None:
        self._note("backward", microbatch)

    def backward_weight_one_chunk(self, microbatch: int, **_: Any) -> None:
        self._note("weights", microbatch)

    def get_local_bwd_output(self, *_: Any) -> None:
        """Hand nothing on: there is nothing."""

    def _none(self, *_: Any) -> list[Any]:
        return []

    get_fwd_recv_ops = get_fwd_send_ops = get_bwd_recv_ops = get_bwd_send_ops = _none
    set_local_fwd_input = set_local_bwd_input = perform_reduce_grad = _none


def torchs_order(setup: Setup, agent: int) -> list[Pass]:
    """What torch's schedule calls the agent's stages for; what the 1F1B of torch 2.14 prints has other microbatches."""
    said: list[Pass] = []
    stages = [Recorded(number, agent, setup, said) for number in method_of(setup.method.name).held(setup.agents, agent)]
    looped = len(stages) > 1
    schedule = SCHEDULES[setup.method.name](stages if looped else stages[0], setup.microbatches)
    # Nothing travels that would have to be made ready.
    vars(schedule)["_initialize_stages" if looped else "_initialize_stage"] = lambda *_: None
    parts: list[tuple[()]] = [()] * setup.microbatches
    schedule._step_microbatches(parts, [{}] * setup.microbatches)
    return said


@pytest.mark.parametrize(("agents", "microbatches"), [(2, 2), (2, 4), (2, 8), (3, 3), (3, 6), (4, 4), (4, 8), (5, 5)])
@pytest.mark.parametrize("method", SCHEDULES)
def test_orders_are_torchs(method: str, agents: int, microbatches: int) -> None:
    setup = setup_of(method, agents, microbatches)
    assert orders(setup) == [torchs_order(setup, agent) for agent in range(agents)]


@pytest.mark.parametrize(("agents", "microbatches"), [(2, 1), (2, 3), (2, 5), (3, 1), (3, 2), (3, 4), (4, 3), (4, 9)])
@pytest.mark.parametrize("method", ["gpipe", "zero_bubble"])
def test_orders_are_torchs_with_any_number_of_microbatches(method: str, agents: int, microbatches: int) -> None:
    setup = setup_of(method, agents, microbatches)
    assert orders(setup) == [torchs_order(setup, agent) for agent in range(agents)]
