"""The kinds of time that an agent's clock tells apart: one table, a line a kind, and what users ask of it."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Section(NamedTuple):
    """A kind of time: how its seconds count, and how it is drawn."""

    name: str
    meaning: str
    """What the agent does in it."""
    counts: Literal["compute", "wait", "communication", "data", "other"]
    """What its seconds are of an agent's time. A wait is a lock of its own: its name is what it is for, and _lock."""
    colour: str
    cost: str = ""
    """The field of a forecast's costs of a stage that it is part of; none of waits, which a forecast walks."""
    hatch: str = ""
    hatch_colour: str = ""
    share_colour: str = ""
    """A wait's colour among shares of the wall time, where it is not beside what it waits for."""
    number_colour: str = ""
    """The colour of its batch's number in a timeline; none where a timeline leaves the number out."""

    @property
    def title(self) -> str:
        return self.name.replace("_lock", " locked")


# Okabe and Ito's colours, which the colour-blind tell apart; a wait has the pale tint of what it waits for, hatched.
SECTIONS = (
    Section("forward", "computes activations", "compute", "#0072B2", "forward", number_colour="white"),
    Section("backward", "computes gradients", "compute", "#E69F00", "backward", number_colour="black"),
    Section("update", "steps the optimizer", "compute", "#009E73", "update"),
    Section("forward_lock", "waits for an activation", "wait", "#DCEBF5", "", "////", "#7FB2D6", "#56B4E9"),
    Section("backward_lock", "waits for a gradient", "wait", "#FCEFD2", "", "\\\\\\\\", "#DDB765", "#E69F00"),
    Section(
        "update_lock",
        "waits for the other replicas, or stages, before an update",
        "wait",
        "#D8F0E7",
        "",
        "....",
        "#74BFA4",
        "#CC79A7",
    ),
    Section("averaging", "hands its weights or gradients to be averaged", "communication", "#CC79A7", "averaging"),
    Section("sending", "hands a message over", "communication", "#6B4E71", "send"),
    Section("data", "prepares a batch's inputs", "data", "#8C8C8C", "data"),
    Section("other", "does what has no other kind", "other", "#D9D9D9"),
)
OTHER = SECTIONS[-1]
BY_NAME = {section.name: section for section in SECTIONS}
KINDS = tuple(BY_NAME)
COMPUTE = tuple(section.name for section in SECTIONS if section.counts == "compute")
LOCKS = {section.name.removesuffix("_lock"): section.name for section in SECTIONS if section.counts == "wait"}
"""The kinds of time in which an agent is blocked, by what it is blocked for."""
