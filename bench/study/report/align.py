"""Tables in which columns line up, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

MARK = "*"
NOTHING = "-"


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out rows, the header first, as Markdown that is also straight in a terminal: numbers to the right."""
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    numeric = [all(_is_number(row[column]) for row in rows[1:]) for column in range(len(widths))]
    rule = "|".join("-" * (width + 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True))
    lines = [" | ".join(_pad(*cell) for cell in zip(row, widths, numeric, strict=True)) for row in rows]
    body = [f"| {line} |" for line in lines]
    return [body[0], f"|{rule}|", *body[1:]]


def _pad(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _is_number(text: str) -> bool:
    return text == NOTHING or text.removesuffix(MARK).replace(".", "", 1).lstrip("-").isdigit()
