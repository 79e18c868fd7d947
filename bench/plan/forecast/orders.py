"""Who does what in which order, in pipelines that cut a batch into microbatches, and update when all have passed.

The orders are those of ``torch.distributed.pipelining``: GPipe (Huang et al. 2019, arXiv 1811.06965), 1F1B (Narayanan
et al. 2019, PipeDream, arXiv 1806.03377), interleaved 1F1B (Narayanan et al. 2021, arXiv 2104.04473), and zero bubble
in its form ZB-V (Qi et al. 2024, arXiv 2401.10241, section 6). Two microbatches on two agents by 1F1B::

    agent 0  F0 F1 .  B0 .  B1
    agent 1  .  F0 B0 F1 B1 .

By ZB-V each agent holds two pieces, and has the gradients of inputs (B) and of weights (W) in separate passes. Three
microbatches on two agents, of which the second has the middle pieces; small letters are those of the later piece::

    agent 0  F0 F1 F2 f0 b0 w0 f1 b1 w1 B0 W0 f2 b2 w2 B1 W1 B2 W2 .
    agent 1  .  F0 f0 F1 f1 b0 w0 F2 B0 W0 f2 b1 w1 B1 b2 B2 W1 w2 W2
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal, NamedTuple

from bench.plan.forecast.costs import Setup
from bench.plan.forecast.placement import held

Kind = Literal["forward", "backward", "weights"]
KINDS: tuple[Kind, ...] = ("forward", "backward", "weights")


class Pass(NamedTuple):
    """The pass of one microbatch through one stage."""

    kind: Kind
    """What is computed; ``backward`` leaves the weights' gradients out where ``weights`` follows (zero bubble)."""
    stage: int
    microbatch: int


def orders(setup: Setup) -> list[list[Pass]]:
    """The order of the passes of each agent of a replica, for one update.

    Raises:
        ValueError: the method cannot cut a batch into so many microbatches.
    """
    agents, count = setup.agents, setup.microbatches
    if setup.method == "gpipe":
        return [[Pass(kind, agent, number) for kind in KINDS[:2] for number in range(count)] for agent in range(agents)]
    if setup.method == "zero_bubble":
        return [list(_in_a_v(setup, agent)) for agent in range(agents)]
    rounds = max(1, count // agents)
    if setup.method != "1f1b" and count % rounds:
        raise ValueError(
            f"microbatches={count} must be a multiple of {rounds}, their number of rounds over {agents} agents"
        )
    return [_alternating(setup, agent, count // rounds) for agent in range(agents)]


def _alternating(setup: Setup, agent: int, together: int) -> list[Pass]:
    """An agent's order: forwards until the first gradient can be there, forwards and backwards in turns, backwards.

    Args:
        together: microbatches that go through a chunk before the agent turns to its next one.
    """
    chunks, behind = setup.chunks, setup.agents - 1 - agent
    together = setup.microbatches if chunks == 1 else together
    total = chunks * setup.microbatches
    hop = 2 if setup.method == "interleaved_1f1b" else 1
    ahead = min((chunks - 1) * together + hop * behind, total)
    forwards, backwards, seen = [], [], [0] * chunks
    for number in range(total):
        chunk = number // together % chunks
        last = chunks - 1 - chunk
        microbatch, seen[chunk] = seen[chunk], seen[chunk] + 1
        forwards.append(Pass("forward", chunk * setup.agents + agent, microbatch))
        backwards.append(Pass("backward", last * setup.agents + agent, microbatch))
    order = forwards[:ahead]
    for number, backward in enumerate(backwards):
        order += [*forwards[ahead + number : ahead + number + 1], backward]
    return order


def _in_a_v(setup: Setup, agent: int) -> Iterator[Pass]:
    """Yield an agent's order by ZB-V: each pass takes the next microbatch of its kind and piece.

    In turn: forwards until the first one comes back from the end of the V; both pieces' until the first gradient can be
    there; the second piece alone, there and back; both, there and back; and as the gradients come in, first what others
    wait for, and last the weights'. The pattern is for so many microbatches as fill the V; of fewer, the others' places
    are left out.
    """
    behind, pattern = setup.agents - agent, max(2 * setup.agents - 1, setup.microbatches)
    there_and_back = ["f", "b", "w"]
    passes = ["F"] * (2 * behind - 1) + ["f", "F"] * agent + there_and_back * behind
    passes += ["F", "B", "W", *there_and_back] * (pattern - setup.agents)
    passes += ["B", "b"] * agent + ["B", "W"] * behind + ["w"] * agent + ["W"] * agent
    first, second = held(setup.method, setup.agents, len(setup.stages), agent)
    seen: Counter[str] = Counter()
    for letter in passes:
        if seen[letter] < setup.microbatches:
            kind = KINDS["FBW".index(letter.upper())]
            yield Pass(kind, first if letter.isupper() else second, seen[letter])
        seen[letter] += 1
