"""Passes, of which methods that cut a batch into microbatches say the order, and the order that 1F1B and its kin share.

Orders are those of ``torch.distributed.pipelining``; each lies in its method's file.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["forward", "backward", "weights"]
KINDS: tuple[Kind, ...] = ("forward", "backward", "weights")


class Pass(NamedTuple):
    """The pass of one microbatch through one stage."""

    kind: Kind
    """What is computed; ``backward`` leaves the weights' gradients out where ``weights`` follows (zero bubble)."""
    stage: int
    microbatch: int


def alternating(
    agents: int, agent: int, microbatches: int, chunks: int = 1, together: int | None = None, hop: int = 1
) -> list[Pass]:
    """An agent's order: forwards until the first gradient can be there, forwards and backwards in turns, backwards.

    Args:
        chunks: stages that an agent holds.
        together: microbatches that go through a chunk before the agent turns to its next one; None: all.
        hop: forwards that an agent is ahead of the one behind it.
    """
    together = together or microbatches
    total = chunks * microbatches
    ahead = min((chunks - 1) * together + hop * (agents - 1 - agent), total)
    forwards, backwards, seen = [], [], [0] * chunks
    for number in range(total):
        chunk = number // together % chunks
        last = chunks - 1 - chunk
        microbatch, seen[chunk] = seen[chunk], seen[chunk] + 1
        forwards.append(Pass("forward", chunk * agents + agent, microbatch))
        backwards.append(Pass("backward", last * agents + agent, microbatch))
    order = forwards[:ahead]
    for number, backward in enumerate(backwards):
        order += [*forwards[ahead + number : ahead + number + 1], backward]
    return order
