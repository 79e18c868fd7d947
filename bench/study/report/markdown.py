"""Tables and pages of results in Markdown, which a repository's pages show as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.study.report.align import NOTHING, align
from bench.study.report.sheet import sheets_of

if TYPE_CHECKING:
    from pandas import DataFrame

BLOCK = re.compile(r"^<!-- (\w+): (\w+) -->\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)
"""A place in a page for a table: ``<!-- experiment: table -->``, what stands there now, and ``<!-- end -->``."""


@dataclass(frozen=True)
class Chapter:
    """What a page of results tells of one experiment."""

    name: str
    about: Sequence[str]
    """Paragraphs."""
    tables: Mapping[str, DataFrame]
    pictures: Mapping[str, str]
    """Captions, by the address of the picture."""

    def text(self) -> str:
        shown = [f"{table_of(self.tables, name)}" for name in self.tables]
        pictures = [f"![{caption}]({address})" for address, caption in self.pictures.items()]
        return "\n\n".join([f"## {self.name}", *self.about, *shown, *pictures])


def table_of(tables: Mapping[str, DataFrame], name: str) -> str:
    """A table as Markdown: the columns that are looked at first, and in a line below what all rows have in common."""
    (sheet,) = sheets_of({name: tables[name]})
    places = [place for place, column in enumerate(sheet.columns) if not column.rare]
    lines = [[sheet.columns[place].title for place in places]]
    lines += [[line.cells[place].text or NOTHING for place in places] for line in sheet.lines]
    common = ", ".join(f"{title} {text}" for title, text in sheet.common.items())
    return "\n".join([*align(lines), *(["", f"All rows: {common}."] if common else [])])


def filled(page: str, tables: Mapping[tuple[str, str], str]) -> str:
    """A page whose places for tables are filled; one for a table that is not there stays as it is.

    Args:
        tables: by experiment and name.
    """

    def fill(block: re.Match[str]) -> str:
        table = tables.get((block[1], block[2]))
        return block[0] if table is None else f"<!-- {block[1]}: {block[2]} -->\n{table}\n<!-- end -->"

    return BLOCK.sub(fill, page)
