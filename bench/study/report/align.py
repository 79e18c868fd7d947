"""Tables in which columns line up, for a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

CROWDED, COLOCATED = "*", "+"
"""Marks of speeds that cannot be compared: of agents that shared cores, and of runs with others beside them."""
NOTHING = "-"


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out rows, the header first, as Markdown that is also straight in a terminal: numbers to the right."""
    from tabulate import tabulate

    head, *body = rows
    numeric = [all(_is_number(row[column]) for row in body) for column in range(len(head))]
    sides = ["right" if each else "left" for each in numeric]
    # Headers as headers would make every column two wider. Three is the least that Markdown's rule takes.
    first = [name.rjust(3) if each else name.ljust(3) for name, each in zip(head, numeric, strict=True)]
    whole = tabulate([first, *body], (), "pipe", colalign=sides, disable_numparse=True, preserve_whitespace=True)
    rule, *lines = whole.splitlines()
    return [lines[0], rule.replace("|:", "|-"), *lines[1:]]


def _is_number(text: str) -> bool:
    return text == NOTHING or re.fullmatch(r"-?\d+(\.\d+)?(e[-+]?\d+)?", text.rstrip(CROWDED + COLOCATED)) is not None
