"""The kinds of time that an agent's clock tells apart, and how each is drawn."""

from __future__ import annotations

COMPUTE = ("forward", "backward", "update")
LOCKS = ("forward_lock", "backward_lock", "update_lock")
KINDS = (*COMPUTE, *LOCKS, "averaging", "sending", "data", "other")
CATEGORIES = {
    "forward": "compute",
    "backward": "compute",
    "update": "compute",
    "forward_lock": "wait",
    "backward_lock": "wait",
    "update_lock": "wait",
    "averaging": "communication",
    "sending": "communication",
    "data": "data",
    "other": "other",
}


# Okabe and Ito's colours, which the colour-blind tell apart; a wait has the pale tint of what it waits for, hatched.
COLOURS = {
    "forward": "#0072B2",
    "backward": "#E69F00",
    "update": "#009E73",
    "averaging": "#CC79A7",
    "sending": "#6B4E71",
    "data": "#8C8C8C",
    "other": "#D9D9D9",
    "forward_lock": "#DCEBF5",
    "backward_lock": "#FCEFD2",
    "update_lock": "#D8F0E7",
}
HATCHES = {"forward_lock": "////", "backward_lock": "\\\\\\\\", "update_lock": "...."}
HATCH_COLOURS = {"forward_lock": "#7FB2D6", "backward_lock": "#DDB765", "update_lock": "#74BFA4"}
LABELLED = {"forward": "white", "backward": "black"}
