"""What a picture says, before anyone draws it: panels of series of marks, each with the runs that it was made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.plan.interval import Interval

Look = Literal["curve", "line", "points", "front", "bars"]
"""A curve has its intervals as a band, a line and points have them as bars; a front is steps without marks, and bars
lie on one another in the panel's rows."""
Dash = Literal["solid", "dash", "dot"]
DASHES: tuple[Dash, ...] = ("solid", "dash", "dot")
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#6B4E71", "#8C8C8C")
"""Okabe and Ito's colours, which the colour-blind tell apart, and two more."""
GREY = PALETTE[-1]


@dataclass(frozen=True)
class Datum:
    """A mark of a panel: what it stands for."""

    x: Interval
    y: Interval
    """A bar's is the number of its row, from 0."""
    runs: tuple[str, ...]
    """The names of the runs that it was made of."""
    label: str = ""
    """What it is called where that is not its series' label."""
    page: str = ""
    """The address of the page that has the rows of these runs; empty where it is the picture's own."""


@dataclass(frozen=True)
class Series:
    """Marks that belong together."""

    label: str
    look: Look
    colour: str
    marks: Sequence[Datum]
    dash: Dash = "solid"
    """How its line is drawn, and which shape its marks have."""
    faint: bool = False
    """Whether marks are hollow, or a line is thin."""


@dataclass(frozen=True)
class Axis:
    """What an axis measures."""

    title: str
    form: Literal["number", "whole", "share"] = "number"
    """Whole numbers have no ticks between them; a share of 1 is told in per cent."""

    def say(self, interval: Interval) -> str:
        """A value in words, with its interval where it has one: ``98.9 % (98.3 to 99.6)``."""
        if self.form == "share":
            numbers = [f"{100 * value:.1f}" for value in interval[:3]]
            numbers[0] += " %"
        else:
            digits = 0 if self.form == "whole" else decimals(interval.mean)
            numbers = [f"{value:.{digits}f}" for value in interval[:3]]
        return numbers[0] if math.isnan(interval.low) else f"{numbers[0]} ({numbers[1]} to {numbers[2]})"


@dataclass(frozen=True)
class Panel:
    """A pair of axes, and what is drawn between them."""

    x: Axis
    y: Axis
    series: Sequence[Series]
    name: str = ""
    """What tells it from the panels beside it."""
    rows: Sequence[str] = ()
    """What the rows of bars are called, from the top."""
    note: str = ""
    """What is not drawn."""


@dataclass(frozen=True)
class Chart:
    """A picture of a report: for each workload its title and its panels, as many for each."""

    name: str
    caption: str
    workloads: Sequence[tuple[str, Sequence[Panel]]]


def exactly(value: float) -> Interval:
    """A value that has no interval."""
    return Interval(value, math.nan, math.nan, 1)


def colour_of(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def dash_of(index: int) -> Dash:
    """The dashes, or the marks' shape, that tell a series from others of its colour."""
    return DASHES[index // len(PALETTE) % len(DASHES)]


def decimals(number: float, digits: int = 3) -> int:
    """How many decimals so many significant digits of a number are."""
    if not number or not math.isfinite(number):
        return digits - 1
    return max(0, digits - 1 - math.floor(math.log10(abs(number))))
