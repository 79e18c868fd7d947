"""Which stage holds which piece of the network, where a stage may hold two.

Pieces count from 0 in the order of the layers, stages from 0. With three stages::

    one piece each    0   1   2          zero_bubble       0   1   2
                                                           5   4   3
    interleaved_1f1b  0   1   2
                      3   4   5
"""

from __future__ import annotations


def holder(method: str, stages: int, piece: int) -> int:
    """The stage that holds ``piece``: in a loop (Narayanan et al. 2021), or in a V (Qi et al. 2023, ZB-V)."""
    return 2 * stages - 1 - piece if method == "zero_bubble" and piece >= stages else piece % stages


def held(method: str, stages: int, pieces: int, stage: int) -> list[int]:
    """The pieces of ``stage``, in increasing order."""
    return [piece for piece in range(pieces) if holder(method, stages, piece) == stage]
