"""What a run is compared with: one agent, or back-propagation on as many; and the ratio to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.plan.interval import Interval, ratio
from bench.record.metrics import SPEED
from bench.rule.averaging.allreduce import AllReduce
from bench.rule.method.decoupled import Decoupled
from bench.study.report.comparison import DELAY, LENGTH, is_of

if TYPE_CHECKING:
    from bench.study.report.result import Run


SINGLE, LOCKED = "single", "locked"
"""What a speed is compared with: one agent, and back-propagation through as many stages and replicas."""
LARGEST = "clip.norm"
"""The key of the largest gradient. Whose norm it is has another name where there is one stage."""


def grouped(runs: Sequence[Run], key: Callable[[Run], str]) -> list[list[Run]]:
    """The runs with one value of ``key`` together, in the order of the first of each."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())


def alike(groups: Sequence[list[Run]], work: Callable[[Run], str]) -> dict[str, list[list[Run]]]:
    """Gather the groups that do the same work."""
    found: dict[str, list[list[Run]]] = {}
    for group in groups:
        found.setdefault(work(group[0]), []).append(group)
    return found


def backpropagation(run: Run, groups: Sequence[list[Run]]) -> list[Run]:
    """Find, among groups of the run's workload, that without staleness and of as many replicas; empty if there is none.

    Of several it is that of the same engine, then one that averages gradients, then one with as large gradients, then
    one of the fewest stages.
    """
    wanted = {"method": Decoupled.name, "staleness": 0, "replicas": run.keys["replicas"]}

    def unlike(group: list[Run]) -> tuple[bool, bool, bool, int]:
        keys = group[0].keys
        averages, clips = keys["averaging.name"] == AllReduce.name, _part(run.keys, LARGEST) == _part(keys, LARGEST)
        return keys["engine"] != run.keys["engine"], not averages, not clips, keys["stages"]

    return min((group for group in groups if group[0].keys.items() >= wanted.items()), key=unlike, default=[])


def alike_batches(keys: Mapping[str, Any], replicas: int) -> tuple[int, int]:
    """Sizes, in samples, of a replica's batch in a run of so many replicas to compare with, the first choice first.

    They are as large as its own, or make as many samples an update: either way a sample is the same work.
    """
    return keys["batch_size"], keys["batch_size"] * keys["replicas"] // replicas


class Against(NamedTuple):
    """The geometric mean of ratios of speeds, None where there is no pair; and the runs that it is over."""

    ratio: Interval | None
    others: list[Run]


class Speeds:
    """Speeds against other runs' speeds: the ratio to the run of the same seed, network, engine and machine.

    There is none where agents shared cores, or had other runs beside them, nor for the oracle, whose speed says
    nothing, nor of a run to itself.
    """

    def __init__(self, runs: Sequence[Run], mix_hosts: bool = False) -> None:
        self.groups = grouped(
            runs, lambda run: "".join([run.group, str(run.colocated), *([] if mix_hosts else run.host.values())])
        )
        """Runs that differ in their seed alone, of one machine unless these are mixed, all of them alone or none."""
        self._mix_hosts = mix_hosts
        self._alike = alike(self.groups, lambda run: run.network)

    def over(self, baseline: str, members: Sequence[Run]) -> Against:
        """Compare runs that differ in their seed alone with a baseline: the mean ratio of their speeds to its speeds.

        Args:
            baseline: ``single`` or ``locked``.
        """
        by_seed = {other.seed: other for other in self._counterpart(baseline, members[0]) if _speed(other)}
        pairs = [(run, by_seed[run.seed]) for run in members if _speed(run) and run.seed in by_seed]
        speeds = [(_speed(run), _speed(other)) for run, other in pairs]
        return Against(ratio(*zip(*speeds, strict=True)) if pairs else None, [other for _, other in pairs])

    def _counterpart(self, baseline: str, run: Run) -> list[Run]:
        """The group most like the run's among those with the baseline's grid; empty if the run has that grid itself."""
        stages, replicas = (1, 1) if baseline == SINGLE else (run.keys["stages"], run.keys["replicas"])
        wanted = {"method": Decoupled.name, "staleness": 0, "stages": stages, "replicas": replicas}
        if run.keys.items() >= wanted.items():
            return []
        candidates = [group for group in self._alike[run.network] if self._mix_hosts or group[0].host == run.host]
        candidates = [group for group in candidates if not group[0].colocated]
        for size in alike_batches(run.keys, replicas):
            asked = {**wanted, "engine": run.keys["engine"], "batch_size": size}
            found = [group for group in candidates if group[0].keys.items() >= asked.items()]
            if found:
                return min(found, key=lambda group: _unlike(run, group[0]))
        return []


def _speed(run: Run) -> float:
    """A run's units per second; 0 where they cannot be compared."""
    return run.number(SPEED) or 0.0 if run.timed else 0.0


def _unlike(run: Run, other: Run) -> list[bool]:
    """Whether two runs differ in each of the keys that may differ, staleness apart; what matters most first."""
    names = ("averaging", LARGEST, *LENGTH, "partition", "backend")
    return [_part(run.keys, name) != _part(other.keys, name) for name in names]


def _part(keys: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if is_of(key, (name,)) and not is_of(key, DELAY)}
