"""Runs of the same kind, as pictures show them: what they are called, and in which panel they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.plan.interval import Interval, mean
from bench.study.report.pairing import grouped
from bench.study.report.quality import worth_of
from bench.study.report.result import Run, numbers_of, one_each, order, setting, varying

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

    @property
    def worth(self) -> Interval | None:
        """The mean quality by the test split, with its interval as the tables have it; None where no run has one."""
        return worth_of(self.runs)

    def mean(self, metric: str) -> Interval | None:
        """The mean of a metric over those of the runs that have it, with its interval."""
        numbers = numbers_of(self.runs, metric)
        return mean(numbers) if numbers else None


def workloads_of(runs: Sequence[Run], work: Callable[[Run], str]) -> list[tuple[str, list[Run]]]:
    """The workloads of a picture: their titles, and the runs that are drawn of each."""
    found: dict[str, list[Run]] = {}
    for run in sorted(runs, key=order):
        found.setdefault(work(run), []).append(run)
    shown = list(found.values())[:WORKLOADS_DRAWN]
    titles = _titles([members[0] for members in shown], len(found))
    return list(zip(titles, shown, strict=True))


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """Gather the runs of one workload by group; one that several machines have made counts once."""
    groups = grouped(sorted(one_each(runs), key=order), lambda run: run.group)
    firsts = [members[0] for members in groups]
    # A label tells the microbatches; cuts are mostly the work of the numbers of stages.
    rests = [_rests(firsts, left_out) for left_out in (("microbatches", "partition"), ("microbatches",))]
    labels = {first.label + rest for first, rest in zip(firsts, rests[0], strict=True)}
    return list(map(Group, groups, rests[len(labels) < len(firsts)]))


def groups_by_machine(runs: Sequence[Run]) -> list[Group]:
    """The same of each machine by itself, for what a machine decides; where there are several, a label names it."""
    machines = grouped(runs, lambda run: " ".join(run.host.values()))
    told = [f" on {' '.join(members[0].host.values())}" if len(machines) > 1 else "" for members in machines]
    groups = [(name, group) for name, members in zip(told, machines, strict=True) for group in groups_of(members)]
    return [replace(group, rest=group.rest + name) for name, group in groups]


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
