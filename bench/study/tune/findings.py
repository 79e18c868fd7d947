"""What studies have found: tables, a page, a picture of each, and a file that a run can take its schedule from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.plan.inference import Paired
from bench.plan.interval import Interval
from bench.record.folder import flatten
from bench.study.report.align import align
from bench.study.report.cells import columns
from bench.study.report.comparison import DELAY, shared
from bench.study.report.figure import drawn
from bench.study.report.page import Story, environments, write_page
from bench.study.report.quality import pairs_of, said_of
from bench.study.report.sheet import REPORT
from bench.study.tune.finding import Finding
from bench.study.tune.study import Study
from bench.study.tune.trials import is_feasible
from bench.task.contract import Quality

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from pandas import DataFrame

SEARCHED = ("lr", "optimizer")
"""Groups whose choices a study finds, whatever it began with."""
OVER: dict[str, Callable[[Study], tuple[int, str]]] = {
    "locked": lambda study: (0, study.tuning.conditions),
    "unrestricted": lambda study: (study.run.staleness, "none"),
}
"""The staleness and the conditions of the studies that one is compared with."""


# ----------------------------------------------------------------------------------------------------------- the tables
def studies_table(findings: Sequence[Finding]) -> DataFrame:
    """The table of studies: each one's budget, its best trial, and its quality over fresh seeds against the others.

    ``over_locked`` is the difference from the study of the same conditions at staleness 0, ``over_unrestricted`` from
    that of the same staleness without conditions, both in pairs of the same fresh seed; what is said of them is one of
    :func:`~bench.plan.inference.words_of` the table.
    """
    import pandas

    asked = [(finding, name) for finding in findings for name in OVER]
    pairs = [_over(name, finding, findings) for finding, name in asked]
    words = said_of(pairs, findings[0].study.quality, findings[0].study.settings.report.margin)
    compared: dict[str, dict[str, Any]] = {finding.study.tuning.study: {} for finding in findings}
    for (finding, name), pair, word in zip(asked, pairs, words, strict=True):
        row = columns(f"over_{name}", pair.difference if pair else None) | {f"over_{name}_said": word or ""}
        compared[finding.study.tuning.study] |= row
    return pandas.DataFrame([_row(finding, compared[finding.study.tuning.study]) for finding in findings])


def _row(finding: Finding, compared: dict[str, Any]) -> dict[str, Any]:
    run, conditions = finding.study.run, finding.study.tuning.conditions
    row: dict[str, Any] = {"study": finding.study.tuning.study, "K": run.stages, "S": run.replicas}
    row |= {"staleness": run.staleness, "conditions": conditions}
    worth, best, quality = finding.worth, finding.best, finding.study.quality
    row |= {**columns(quality.name, worth), "n": worth.n if worth else 0, **finding.budget, **compared}
    row |= finding.rates | {"best_trial": best.number if best else None, "run": _hash(finding)}
    row |= {f"{quality.name}_of_trial": best.values[0] if best else None}
    return row | flatten(best.user_attrs["settings"] if best else {}) | {"repeats": " ".join(finding.repeats)}


def _over(name: str, finding: Finding, findings: Sequence[Finding]) -> Paired | None:
    """The difference from the study that a column names; None if it is the same, or not there."""
    asked = OVER[name](finding.study)
    for other in findings:
        same = (other.study.run.staleness, other.study.tuning.conditions) == asked
        if other is not finding and same and _rest(other) == _rest(finding):
            return pairs_of(finding.repeated, other.repeated)
    return None


def _rest(finding: Finding) -> str:
    """What two studies that are compared have in common: the budget, and the seed that fresh ones count from."""
    budget = (finding.study.trials, finding.study.tuning.repeats)
    return shared(flatten(finding.study.run.canonical()), *DELAY, *SEARCHED) + repr(budget)


def _hash(finding: Finding) -> str:
    return finding.run.hash() if finding.run else ""


def trials_table(findings: Sequence[Finding]) -> DataFrame:
    """The table of trials, one row a trial."""
    import pandas

    rows = []
    for finding in findings:
        for trial in finding.trials:
            row = {"study": finding.study.tuning.study, "trial": trial.number, "state": trial.state.name.lower()}
            row |= {"retry_of": trial.system_attrs.get("failed_trial"), "run": trial.user_attrs.get("run", "")}
            row |= dict(zip(finding.study.objectives, trial.values or [], strict=False))
            if trial.state.name == "PRUNED":
                row |= {finding.study.quality.name: trial.intermediate_values[max(trial.intermediate_values)]}
            row |= {
                "epochs": len(trial.intermediate_values) if trial.state.name == "PRUNED" else _epochs(finding, trial)
            }
            row |= {"feasible": is_feasible(trial)} | flatten(trial.user_attrs.get("settings", {}))
            rows.append(row)
    return pandas.DataFrame(rows)


def _epochs(finding: Finding, trial: FrozenTrial) -> int:
    return finding.epochs if trial.state.name == "COMPLETE" else 0


def print_findings(findings: Sequence[Finding]) -> str:
    """Print the studies as a table; return it."""
    head = ["study", "trials", "pruned", "epochs trained", "best family", "shape", "covered", "margin"]
    quality = findings[0].study.quality
    lines = [[*head, f"test {quality.heading}", "less locked", "less unrestricted"]]
    for row in studies_table(findings).to_dict("records"):
        cells = [str(row["study"]), str(row["trials"]), str(row["pruned"]), str(row["epochs_trained"])]
        cells += [str(row.get("lr.name") or "-"), *known_of(row)]
        cells.append(_shown(row, quality.name, quality))
        lines.append([*cells, *(f"{_shown(row, f'over_{n}', quality)} {row[f'over_{n}_said']}".strip() for n in OVER)])
    lost = [f"{each.study.tuning.study}: {_lost(each)}" for each in findings if each.diverged]
    table = "\n".join([*align(lines), *(["", *lost] if lost else [])])
    print(table)
    return table


def known_of(row: Mapping[Any, Any]) -> list[str]:
    """What was known of the best trial before it trained, as text: its shape, whether it is covered, its margin."""
    margin = row["margin"]
    covered = {True: "yes", False: "no"}.get(row["covered"], "-")
    return [
        str(row["shape"] or "-"),
        covered,
        f"{margin:.2g}" if isinstance(margin, float) and math.isfinite(margin) else "-",
    ]


def _shown(row: Mapping[Any, Any], name: str, quality: Quality) -> str:
    """A mean with the ends of its interval, of shares in per cent; ``-`` where there is none."""
    sign = "" if name == quality.name else "+"
    ends = (row[key] for key in (name, f"{name}_low", f"{name}_high"))
    numbers = ["" if math.isnan(end) else f"{quality.scale * end:{sign}.{quality.digits}f}" for end in ends]
    if not numbers[0]:
        return "-"
    return f"{numbers[0]} ({numbers[1]} to {numbers[2]})" if numbers[1] else numbers[0]


def in_unit(interval: Interval, quality: Quality) -> str:
    """A mean of qualities with its interval, of shares in per cent."""
    return _shown(columns(quality.name, interval), quality.name, quality) + (" %" if quality.is_share else "")


def write_findings(findings: Sequence[Finding], folder: Path) -> list[Path]:
    """Write ``studies.csv``, ``trials.csv``, a picture of each study and ``report.html``; return the pictures."""
    from bench.study.tune.picture import draw

    tables = {"studies": studies_table(findings), "trials": trials_table(findings)}
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    pictures = {}
    for finding in findings:
        path = folder / f"{finding.study.tuning.study}.png"
        if drawn(path, partial(draw, finding, path)):
            pictures[path] = _caption(finding)
    records = [finding.record for finding in findings if finding.record]
    facts = environments([record["environment"] for record in records])
    story = Story(f"staleness-bench: {len(findings)} studies", facts, [], {}, [])
    page = folder / REPORT
    drawn(page, lambda: write_page(page, story, tables, pictures=pictures))
    return list(pictures)


def _caption(finding: Finding) -> str:
    words = f"{finding.study.tuning.study}: its trials, and how much each parameter mattered."
    return f"{words} Of its best, {_lost(finding)}." if finding.diverged else words


def _lost(finding: Finding) -> str:
    return f"{finding.diverged} of {len(finding.repeats)} repeats diverged, without a quality"
