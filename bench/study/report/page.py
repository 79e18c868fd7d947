"""A page: tables to sort and filter, and pictures whose marks lead to the runs that they were made of.

It needs no network: plotly's script lies beside it or above it, or in it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.study.report.chart import Chart
from bench.study.report.plot import plots_of
from bench.study.report.script import above, plotly_script, put_script
from bench.study.report.sheet import sheets_of
from bench.study.report.terminal import QUALITY, is_shown

if TYPE_CHECKING:
    from pandas import DataFrame

LEGEND = {
    QUALITY: "Mean final quality by the test split with its 95% interval over seeds, Wilson's of a share and Student's "
    "of anything else, and of a share over test sets of that size too (test_set, Wilson's); and the difference from "
    "back-propagation (staleness 0) of as many replicas in pairs of the same seed (Student's t). No interval of a "
    "share is finer than one unit of the test split. Better and worse are marked by paired "
    "t-tests with Holm's correction over the table, no worse by two one-sided tests against the margin; detectable is "
    "the difference that so many pairs show with 80% power. A diverged run is one of the n, and has no quality. "
    "Updates and seconds to the target are medians, with an interval between values by their order that holds them "
    "with the probability target_coverage; by the split that curves are of, and infinite of a run that missed it or "
    "diverged. No seconds where agents shared cores, of the oracle, nor of several machines.",
    "throughput": "Units per second, and geometric means of ratios to the run of the same seed at K=S=1 (over_single) "
    "and at staleness 0 of the same K and S (over_locked), with 95% intervals. No ratio where agents shared cores, nor "
    "for the oracle. Locking: share of the wall time, mean over agents.",
    "runs": "One row a run.",
    "studies": "One row a study: its budget, its best trial, and the test quality of that trial's settings over fresh "
    "seeds with its 95% interval, less that of back-propagation's study (over_locked) and of the one of any "
    "schedule (over_unrestricted), each of the same budget, in pairs of the same seed. What is said of these is as in "
    "a table of qualities, with Holm's correction over this table.",
    "experiments": "One row a report, each with its pictures and all of its runs.",
    "headlines": "One row a group of runs that differ in their seed alone, on one machine: mean test quality and its "
    "difference from back-propagation in pairs of the same seed, units per second and their ratios to one agent's and "
    "to back-propagation's of the same K and S, with 95% intervals.",
    "trials": "One row a trial. A pruned one has the quality that it was ended with.",
}


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


def write_page(
    path: Path,
    story: Story,
    tables: Mapping[str, DataFrame],
    charts: Sequence[Chart] = (),
    pictures: Mapping[Path, str] | None = None,
    inline: bool = False,
) -> None:
    """Write a page: the tables, the last of them below the pictures.

    Args:
        charts: pictures that plotly draws.
        pictures: captions of PNG files, which are put into the page, by path.
        inline: put plotly's script into the page, which is then one file that needs no other.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    here = FileSystemLoader(Path(__file__).parent)
    page = Environment(loader=here, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    coded = [(caption, base64.b64encode(file.read_bytes()).decode()) for file, caption in (pictures or {}).items()]
    legend = {name: _legend(name, table) for name, table in tables.items()}
    known: dict[str, Any] = {"story": story, "sheets": sheets_of(tables), "pictures": coded, "legend": legend}
    known |= {"charts": [(chart, plots_of(chart)) for chart in charts], "above": above(path.parent)}
    known |= {"script": "", "address": ""}
    if charts:
        known |= {"script": plotly_script()} if inline else {"address": put_script(path.parent)}
    path.write_text(page.get_template("page.html").render(known), encoding="utf-8")


def _legend(name: str, table: DataFrame) -> str:
    known = LEGEND.get(name.partition(",")[0])
    return known or (LEGEND[QUALITY] if is_shown(name, table) else "")


def environments(known: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What runs ran on, and with what: the different values of each."""

    def values(key: str) -> list[str]:
        return sorted({str(one.get(key) or "unknown") for one in known})

    facts = {"host": values("host"), "processor": values("cpu"), "cores": values("cores")}
    facts |= {"GPU": values("gpu")} if any(one.get("gpu") for one in known) else {}
    return facts | {"torch": values("torch"), "commit": values("git_commit")}
