"""Runs of the same kind, as pictures show them: what they are called, and in which panel they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.plan.interval import Interval, mean
from bench.record.metrics import ACCURACY
from bench.study.report.quality import accuracy_of
from bench.study.report.result import Run, numbers_of, order, setting, varying

WORKLOADS_DRAWN = 6


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone."""

    runs: list[Run]
    rest: str
    """Values of the keys, the axes apart, that tell it from the other groups of its panel."""

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def label(self) -> str:
        diverged = sum(run.diverged for run in self.runs)
        return self.first.label + self.rest + (f" ({diverged} of {len(self.runs)} diverged)" if diverged else "")

    def mean(self, metric: str) -> Interval | None:
        """The mean of a metric over those of the runs that have it, with its interval as the tables have it."""
        if metric == ACCURACY:
            return accuracy_of(self.runs)
        numbers = numbers_of(self.runs, metric)
        return mean(numbers) if numbers else None


def panels_of(runs: Sequence[Run], work: Callable[[Run], str]) -> list[tuple[str, list[Group]]]:
    """The panels of a picture: their titles, and the groups that are drawn in each."""
    found: dict[str, list[Run]] = {}
    for run in sorted(runs, key=order):
        found.setdefault(work(run), []).append(run)
    shown = list(found.values())[:WORKLOADS_DRAWN]
    titles = _titles([members[0] for members in shown], len(found))
    return list(zip(titles, map(groups_of, shown), strict=True))


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """Gather the runs of one workload by group."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    firsts = [members[0] for members in groups.values()]
    # A label tells the microbatches; cuts are mostly the work of the numbers of stages.
    rests = [_rests(firsts, left_out) for left_out in (("microbatches", "partition"), ("microbatches",))]
    labels = {first.label + rest for first, rest in zip(firsts, rests[0], strict=True)}
    return list(map(Group, groups.values(), rests[len(labels) < len(firsts)]))


def _rests(runs: Sequence[Run], left_out: Sequence[str]) -> list[str]:
    """Each run's values, as text, of the keys that differ between the runs."""
    keys = varying(runs, left_out)
    return ["".join(f" {value}" for key in keys if (value := setting(run, key))) for run in runs]


def _titles(firsts: Sequence[Run], workloads: int) -> list[str]:
    """What tells the workloads apart, and at the end how many are not drawn."""
    keys = varying(firsts)
    common = f"{firsts[0].keys.get('model.name')} on {firsts[0].keys.get('data.name')}"
    titles = [" ".join(f"{key}={setting(run, key)}" for key in keys) or common for run in firsts]
    if workloads > len(firsts):
        titles[-1] += f" ({workloads - len(firsts)} more workloads are not drawn)"
    return titles
