"""What has to cross between processes for one update, both ways together, without the network's own headers."""

from __future__ import annotations


def boundary_bytes(message_bytes: int, microbatches: int) -> int:
    """The bytes that cross one stage boundary: the activations of every microbatch, and as much of gradients in return.

    Args:
        message_bytes: bytes of one microbatch's activations.
    """
    return 2 * microbatches * message_bytes


def allreduce_bytes(tensor_bytes: int, members: int) -> int:
    """The bytes of an all-reduce by reduce-scatter and all-gather: each member sends (S-1)/S of the tensor in both.

    That is the least that any algorithm can do with (Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms
    for clusters of workstations").
    """
    return 2 * (members - 1) * tensor_bytes
