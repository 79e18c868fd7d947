"""``report.html``: one page that needs nothing else, with tables that sort by a click on a column's head."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

NAMES = ("runs", "single_runs", "locked_runs", "backpropagation_runs")
"""Columns of run names; in the page each row has them folded away."""
LEGEND = {
    "accuracy": "Mean final test accuracy over seeds with its 95% interval (Student's t), and the difference from "
    "back-propagation (staleness 0) of as many replicas (Welch's interval). A diverged run is one of the n, "
    "and has no accuracy. Seconds to the target accuracy are infinite if a seed missed it, and left out where agents "
    "shared cores, and of the oracle.",
    "throughput": "Images per second, and geometric means of ratios to the run of the same seed at K=S=1 (over_single) "
    "and at staleness 0 of the same K and S (over_locked), with 95% intervals. No ratio where agents shared cores, nor "
    "for the oracle. Locking: share of the wall time, mean over agents.",
    "runs": "One row a run.",
    "studies": "One row a study: its budget, its best trial, and the test accuracy of that trial's settings over fresh "
    "seeds with its 95% interval (Student's t), less that of back-propagation's study and of the one of any schedule, "
    "each of the same budget (Welch's interval).",
    "trials": "One row a trial. A pruned one has the accuracy that it was ended with.",
}
PICTURES = {
    "pareto.png": "Accuracy against throughput. The line joins the runs that no other one beats in both.",
    "locking.png": "Where every agent's wall time goes.",
    "curves.png": "Test accuracy over training time and over epochs.",
    "staleness.png": "Test accuracy against the largest delay.",
}
STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 78rem; padding: 1rem; }
h1, h2 { line-height: 1.2; } p, dl { max-width: 60rem; } .quiet { color: var(--quiet); }
.wide { overflow-x: auto; margin: 1rem 0; max-height: 40rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
td.number { text-align: right; } th { position: sticky; top: 0; background: Canvas; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
tr:target { background: #fd08; } img { max-width: 100%; height: auto; background: white; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dt { font-weight: 600; } dd { margin: 0; } summary { cursor: pointer; }
"""
SCRIPT = """
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.closest("th"), body = head.closest("table").tBodies[0];
  const down = head.getAttribute("aria-sort") === "ascending", column = head.cellIndex;
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const [u, v] = [Number(x), Number(y)], both = !isNaN(u) && !isNaN(v);
    return (down ? -1 : 1) * (both ? (u > v) - (u < v) : x.localeCompare(y));
  };
  body.append(...[...body.rows].sort(compare));
});
"""


@dataclass(frozen=True)
class Story:
    """What a page tells beside its tables and pictures."""

    title: str
    facts: Mapping[str, Sequence[str]]
    """Hosts, versions, data: the different values of each, by its name."""
    problems: Sequence[str]
    """Files that were passed over."""
    failures: Mapping[str, str]
    """The message of each run that failed, by its name."""
    missing: Sequence[str]
    """Points that were asked for and have no record."""


def write_page(path: Path, story: Story, tables: Mapping[str, DataFrame], pictures: Mapping[Path, str]) -> None:
    """Write the page: the tables, the last of them below the pictures, which are put into it with their captions."""
    *first, last = tables
    parts = [
        f"<h1>{escape(story.title)}</h1>",
        _facts(story.facts),
        _list("Passed over", story.problems),
        _list("Failed", [f"{name}: {message}" for name, message in story.failures.items()]),
        _list("Asked for, without a record", story.missing),
    ]
    parts += [_section(name, tables[name]) for name in first]
    for picture, caption in pictures.items():
        code, words = base64.b64encode(picture.read_bytes()).decode(), escape(caption)
        parts.append(
            f'<figure><img alt="{words}" src="data:image/png;base64,{code}"><figcaption>{words}</figcaption></figure>'
        )
    parts.append(_section(last, tables[last]))
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    title = f"<title>{escape(story.title)}</title>"
    body = "\n".join(filter(None, parts))
    path.write_text(
        f'<!doctype html><html lang="en"><head>{head}{title}<style>{STYLE}</style></head>'
        f"<body>{body}<script>{SCRIPT}</script></body></html>\n",
        encoding="utf-8",
    )


def environments(known: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What runs ran on, and with what: the different values of each."""

    def values(key: str) -> list[str]:
        return sorted({str(one.get(key) or "unknown") for one in known})

    facts = {"host": values("host"), "processor": values("cpu"), "cores": values("cores")}
    facts |= {"GPU": values("gpu")} if any(one.get("gpu") for one in known) else {}
    return facts | {"torch": values("torch"), "commit": values("git_commit")}


def _facts(facts: Mapping[str, Sequence[str]]) -> str:
    items = "".join(f"<dt>{escape(key)}</dt><dd>{escape(', '.join(values))}</dd>" for key, values in facts.items())
    return f"<dl>{items}</dl>"


def _list(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<details open><summary>{title}: {len(lines)}</summary><ul>{items}</ul></details>"


def _section(name: str, table: DataFrame) -> str:
    columns = [column for column in table.columns if column not in NAMES]
    named = [column for column in NAMES if column in table.columns]
    heads = "".join(f'<th scope="col"><button>{escape(str(column))}</button></th>' for column in columns)
    heads += '<th scope="col">made from</th>' if named else ""
    rows = []
    for row in table.to_dict("records"):
        cells = "".join(_cell(row[column]) for column in columns)
        cells += f"<td>{_names(row, named)}</td>" if named else ""
        anchor = f' id="{escape(str(row["run"]))}"' if "run" in row else ""
        rows.append(f"<tr{anchor}>{cells}</tr>")
    body = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<h2>{name}</h2><p class="quiet">{LEGEND[name]}</p><div class="wide">{body}</div>'


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "<td></td>"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"<td>{escape(str(value))}</td>"
    exact = "Infinity" if value == math.inf else repr(value)
    return f'<td class="number" data-value="{exact}">{value:.5g}</td>' if isinstance(value, float) else _count(value)


def _count(value: int) -> str:
    return f'<td class="number">{value}</td>'


def _names(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    """The runs that a row's cells were made from, each a link to its own row."""
    lines = []
    for column in columns:
        links = " ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in row[column].split())
        lines.append(f"<div>{column}: {links}</div>" if links else "")
    return f"<details><summary>{len(row['runs'].split())} runs</summary>{''.join(lines)}</details>"
