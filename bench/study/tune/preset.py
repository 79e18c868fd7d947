"""What a study has found, as a file for Hydra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.study.sweep.library import USERS, typed
from bench.study.tune.finding import Finding
from bench.study.tune.findings import in_unit, known_of
from bench.system.file import write_atomic

TUNED = "lr/tuned"
"""The group, in the user's folder of configurations, that the schedules found are kept in."""


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
    text = "\n".join(["# @package _global_", *_header(finding, named)]) + "\n" + yaml.safe_dump(settings)
    write_atomic(path, text.encode())
    return path


def _header(finding: Finding, named: str | None) -> list[str]:
    assert finding.best is not None
    assert finding.run is not None
    study, run, budget = finding.study, finding.run, finding.budget
    grid = [f"stages={run.stages}", f"replicas={run.replicas}", f"staleness={run.staleness}"]
    command = " ".join(typed([*grid, f"lr=tuned/{study.tuning.study}"], named))
    ended = ", ".join(f"{budget[state]} {state}" for state in ("complete", "pruned", "failed"))
    worth, quality = finding.worth, study.quality
    fresh = f"; test {quality.name} over {worth.n} fresh seeds {in_unit(worth, quality)}" if worth else ""
    own = f"{study.judged_by} {quality.name} {quality.shown(finding.best.values[0])}"
    trial = f"number {finding.best.number}, run {run.hash()}, {own}"
    shape, covered, margin = known_of(finding.rates)
    return [
        f"# python -m bench {command}",
        "# Written by python -m bench tune; also the optimizer's values and the correction are the trial's.",
        f"# study: {study.tuning.study}, {budget['trials']} trials ({ended}) of {finding.epochs} epochs",
        f"# trial: {trial}{fresh}",
        f"# shape: {shape}; covered: {covered}; margin: {margin}",
    ]
