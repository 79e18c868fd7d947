"""What studies have found: tables, a page, a picture of each, and a file that a run can take its schedule from."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config import RunConfig
from bench.study.attempt import folder_of
from bench.study.comparison import DELAY, shared
from bench.study.figure import drawn
from bench.study.interval import Interval, difference, mean
from bench.study.library import USERS, typed
from bench.study.page import Story, environments, write_page
from bench.study.record import flatten
from bench.study.runs import read_run
from bench.study.search import Search
from bench.study.shelf import known_record
from bench.study.table import align
from bench.study.tables import columns
from bench.study.trials import is_feasible
from bench.study.tuning import Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from pandas import DataFrame

SEARCHED = ("lr", "optimizer")
"""Groups whose choices a study finds, whatever it began with."""
TUNED = "lr/tuned"
"""The group, in the user's folder of configurations, that the schedules found are kept in."""


@dataclass(frozen=True)
class Finding:
    """A study that is over."""

    study: Study
    epochs: int
    """Epochs of a trial that ends by itself."""
    trials: list[FrozenTrial]
    """All trials by number, also failed ones that were tried again."""
    counted: list[FrozenTrial]
    """The trials without those that were tried again."""
    importances: dict[str, float]
    """The share of the accuracy's variance that each parameter explains, by name, where every trial has it."""
    best: FrozenTrial | None
    run: RunConfig | None
    """The configuration of the best trial; None if no trial has finished."""
    record: dict[str, Any]
    """The record of the best trial's run; empty if there is none."""
    accuracies: list[float]
    """Final test accuracies of the best trial's settings with fresh seeds."""
    diverged: int
    """The number of runs with fresh seeds that diverged, and so have no accuracy."""
    repeats: list[str]
    """Hashes of the runs with fresh seeds."""

    @property
    def budget(self) -> dict[str, int]:
        """How many trials ended in each way, the epochs of a whole one, and the epochs trained in all."""
        states = Counter(trial.state.name for trial in self.counted)
        trained = sum(len(trial.intermediate_values) for trial in self.counted if trial.state.name == "PRUNED")
        trained += states["COMPLETE"] * self.epochs
        own = {"complete": states["COMPLETE"], "pruned": states["PRUNED"], "failed": states["FAIL"]}
        return {"trials": len(self.counted), **own, "epochs": self.epochs, "epochs_trained": trained}

    @property
    def rates(self) -> dict[str, Any]:
        """How the best trial stands to the conditions of convergence."""
        return dict(self.record.get("rates", {}))

    @property
    def accuracy(self) -> Interval | None:
        return mean(self.accuracies) if self.accuracies else None


def find(search: Search) -> Finding:
    """Gather what a study that is over has found."""
    best = search.trials.best()
    run = search.space.run(best.user_attrs["settings"]) if best else None
    record = known_record(folder_of(run)) if run else None
    repeats = {config.hash(): known_record(folder_of(config)) for config in search.repeats()}
    runs = [read_run(found) for found in repeats.values() if found]
    accuracies = [each.number("accuracy/test") for each in runs]
    return Finding(
        search.study,
        search.space.epochs,
        search.trials.all(),
        search.trials.counted(),
        search.trials.importances(),
        best,
        run,
        record or {},
        [accuracy for accuracy in accuracies if accuracy is not None],
        sum(each.diverged for each in runs),
        list(repeats),
    )


# --------------------------------------------------------------------------------------------------------- the schedule
def write_schedule(finding: Finding, named: str | None) -> Path | None:
    """Write ``conf/lr/tuned/<study>.yaml``, which ``lr=tuned/<study>`` takes; None if no trial has finished.

    Args:
        named: the user's folder of configurations, if it is another one than ``conf``.
    """
    import yaml

    if finding.run is None or finding.best is None:
        return None
    settings: dict[str, Any] = {key: finding.run.resolved()[key] for key in ("lr", "optimizer", "correction")}
    path = Path(named or USERS, TUNED, f"{finding.study.tuning.study}.yaml")
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text("\n".join(["# @package _global_", *_header(finding, named)]) + "\n" + yaml.safe_dump(settings))
    os.replace(temporary, path)
    return path


def _header(finding: Finding, named: str | None) -> list[str]:
    assert finding.best is not None
    assert finding.run is not None
    study, run, budget = finding.study, finding.run, finding.budget
    grid = [f"stages={run.stages}", f"replicas={run.replicas}", f"staleness={run.staleness}"]
    command = " ".join(typed([*grid, f"lr=tuned/{study.tuning.study}"], named))
    ended = ", ".join(f"{budget[state]} {state}" for state in ("complete", "pruned", "failed"))
    seeds = f"; over {len(finding.accuracies)} fresh seeds {percent(finding.accuracy)}" if finding.accuracies else ""
    conditions = finding.rates.get("conditions", [])
    why = "; ".join(f"{item['name']}: {'yes' if item['holds'] else 'no'}, {item['why']}" for item in conditions)
    return [
        f"# python -m bench {command}",
        "# Written by python -m bench tune; also the optimizer's values and the correction are the trial's.",
        f"# study: {study.tuning.study}, {budget['trials']} trials ({ended}) of {finding.epochs} epochs",
        f"# trial: number {finding.best.number}, run {run.hash()}, test accuracy {finding.best.values[0]:.1%}{seeds}",
        f"# verdict: {finding.rates.get('verdict', 'unknown')} ({why})",
    ]


# ----------------------------------------------------------------------------------------------------------- the tables
def studies_table(findings: Sequence[Finding]) -> DataFrame:
    """The table of studies: each one's budget, its best trial, and its accuracy over fresh seeds against the others.

    ``over_locked`` is the difference from the study of the same conditions at staleness 0, ``over_unrestricted`` from
    that of the same staleness without conditions; Welch's interval.
    """
    import pandas

    return pandas.DataFrame([_row(finding, findings) for finding in findings])


def _row(finding: Finding, findings: Sequence[Finding]) -> dict[str, Any]:
    run, conditions = finding.study.run, finding.study.tuning.conditions
    row: dict[str, Any] = {"study": finding.study.tuning.study, "K": run.stages, "S": run.replicas}
    row |= {"staleness": run.staleness, "conditions": conditions}
    row |= {**columns("accuracy", finding.accuracy), "n": len(finding.accuracies), **finding.budget}
    for name, staleness, others in (("locked", 0, conditions), ("unrestricted", run.staleness, "none")):
        row |= columns(f"over_{name}", _over(finding, findings, staleness, others))
    best = finding.best
    row |= {"verdict": finding.rates.get("verdict"), "best_trial": best.number if best else None, "run": _hash(finding)}
    row |= {"accuracy_of_trial": best.values[0] if best else None}
    return row | flatten(best.user_attrs["settings"] if best else {}) | {"repeats": " ".join(finding.repeats)}


def _over(finding: Finding, findings: Sequence[Finding], staleness: int, conditions: str) -> Interval | None:
    """The difference from the study with this staleness and these conditions; None if it is the same, or not there."""
    for other in findings:
        same = (other.study.run.staleness, other.study.tuning.conditions) == (staleness, conditions)
        comparable = other is not finding and same and _rest(other) == _rest(finding)
        if comparable and finding.accuracies and other.accuracies:
            return difference(finding.accuracies, other.accuracies)
    return None


def _rest(finding: Finding) -> str:
    """What two studies that are compared have in common, the budget above all."""
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
            row |= dict(zip(finding.study.tuning.objectives, trial.values or [], strict=False))
            if trial.state.name == "PRUNED":
                row |= {"accuracy": trial.intermediate_values[max(trial.intermediate_values)]}
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
    head = ["study", "trials", "pruned", "epochs trained", "best family", "verdict", "test accuracy %", "less locked"]
    lines = [[*head, "less unrestricted"]]
    for row in studies_table(findings).to_dict("records"):
        cells = [str(row["study"]), str(row["trials"]), str(row["pruned"]), str(row["epochs_trained"])]
        cells += [str(row.get("lr.name") or "-"), str(row["verdict"] or "-")]
        lines.append([*cells, *(spread(row, name) for name in ("accuracy", "over_locked", "over_unrestricted"))])
    lost = [f"{each.study.tuning.study}: {_lost(each)}" for each in findings if each.diverged]
    table = "\n".join([*align(lines), *(["", *lost] if lost else [])])
    print(table)
    return table


def spread(row: dict[Any, Any], name: str) -> str:
    """A mean in per cent with the ends of its interval; ``-`` where there is none."""
    sign = "" if name == "accuracy" else "+"
    numbers = [
        f"{100 * row[key]:{sign}.1f}" if row[key] == row[key] else "" for key in (name, f"{name}_low", f"{name}_high")
    ]
    if not numbers[0]:
        return "-"
    return f"{numbers[0]} ({numbers[1]} to {numbers[2]})" if numbers[1] else numbers[0]


def percent(interval: Interval | None) -> str:
    """A mean with its interval, in per cent."""
    if interval is None:
        return "-"
    return spread(columns("accuracy", interval), "accuracy") + " %"


def write_findings(findings: Sequence[Finding], folder: Path) -> list[Path]:
    """Write ``studies.csv``, ``trials.csv``, a picture of each study and ``report.html``; return the pictures."""
    from bench.study.history import draw

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
    page = folder / "report.html"
    drawn(page, lambda: write_page(page, story, tables, pictures))
    return list(pictures)


def _caption(finding: Finding) -> str:
    words = f"{finding.study.tuning.study}: its trials, and how much each parameter mattered."
    return f"{words} Of its best, {_lost(finding)}." if finding.diverged else words


def _lost(finding: Finding) -> str:
    return f"{finding.diverged} of {len(finding.repeats)} repeats diverged, without an accuracy"
