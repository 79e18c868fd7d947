"""The code and the machine of a run, for its record."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import bench
from bench.record.version import ENGINE_VERSION


def environment(oversubscribed: bool, colocated: bool = False, gpu: str | None = None) -> dict[str, Any]:
    """Describe, for the record, the code and the machine; null where something is not known.

    Args:
        oversubscribed: there are more agents than cores (or GPUs).
        colocated: other runs train on the machine meanwhile; the record of one without company does not say it.
        gpu: name of the GPU that the run used.
    """
    commit, dirty = git_state()
    versions = {name: _version(name) for name in ("torch", "torchvision", "mlflow")}
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        "engine_version": ENGINE_VERSION,
        "python": platform.python_version(),
        **versions,
        "host": platform.node(),
        "cpu": _cpu(),
        "cores": _cores(),
        "gpu": gpu,
        "oversubscribed": oversubscribed,
        **({"colocated": True} if colocated else {}),
    }


def git_state() -> tuple[str | None, bool | None]:
    """Commit of this code, and whether the package differs from it; None, None outside a clone.

    Other files do not make it another code, and records that a sweep adds to, which git keeps, are among them.
    """
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=normal"]
    package = Path(bench.__file__).parent
    try:
        answer = subprocess.run(
            [*command, "--", "."], cwd=package, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None, None
    lines = answer.stdout.splitlines()
    commit = next((line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid ")), None)
    if commit is None or commit == "(initial)":
        return None, None
    return commit, any(not line.startswith("#") for line in lines)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str | None:
    """What Linux calls the processor, with its family and model: virtual machines give several the same name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    facts: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    numbers = [f"{word} {facts[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in facts]
    name = facts.get("model name") or platform.processor() or platform.machine()
    return " ".join([name, *numbers]) or None


def _cores() -> int:
    """The number of cores that this process may use: what a container or a scheduler leaves of the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
