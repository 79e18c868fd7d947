"""The jobs of a sweep's runs: which of them go on, how they ended, and what is kept of them beside the runs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.record.folder import RunFolder
from bench.record.runs_dir import JOBS
from bench.system.file import read_json, write_json_atomic

ENDED = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    }
)
"""SLURM's words for a job that does not go on."""
TAIL_LINES = 3
"""Lines of a job's log that are told where it has ended without a word."""


@dataclass(frozen=True)
class JobFile:
    """What the next command finds a run's job by, where this one is gone."""

    path: Path

    @classmethod
    def of(cls, folder: RunFolder) -> JobFile:
        """The file of the run that is kept in a folder."""
        return cls(jobs_folder(folder) / f"{folder.path.name}.json")

    def write(self, job: str, nodes: int) -> None:
        """Keep the number of a run's job, and on how many nodes it is."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(self.path, {"job": job, "nodes": nodes, "time": time.time()})

    def read(self) -> tuple[str, int] | None:
        """The number of the run's job and of its nodes; None where nothing is kept that can be read."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = read_json(self.path.read_bytes())
            return str(kept["job"]), int(kept["nodes"])
        return None

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def jobs_folder(folder: RunFolder) -> Path:
    """Where submitit keeps its files of a run's job."""
    return folder.path.parent / JOBS


def states() -> dict[str, str] | None:
    """SLURM's word for each of this user's jobs that it knows of, by number; None where it does not answer."""
    words = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i|%T"]
    try:
        asked = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    lines = (line.strip().partition("|") for line in asked.stdout.splitlines())
    return {number: word for number, _, word in lines}


def going_on(jobs: Iterable[Any], known: dict[str, str] | None) -> set[str]:
    """The numbers of those jobs that have not ended; where SLURM does not answer, all of them."""
    numbers = {str(job.job_id) for job in jobs}
    if known is None:
        return numbers
    return {number for number in numbers if known.get(number, "COMPLETED") not in ENDED}


def told_by(job: Any, word: str) -> str | None:
    """What a job that has ended says of its run: the message of a failure, or None where it says of none.

    Args:
        word: SLURM's for how it ended.
    """
    parts = [job.task(number) for number in range(job.num_tasks)]
    ended = [part for part in parts if part.paths.result_pickle.exists()]
    messages = [_message(part) for part in ended]
    failures = [message for message in messages if message is not None]
    # A node whose agent waits for one of another node's has lost it, and knows no more.
    own = [message for message in failures if "PeerLost" not in message]
    if failures or len(ended) == len(parts):
        return next(iter([*own, *failures]), None)
    return f"job {job.job_id} has ended as {word}{_tail(parts)}"


def _message(part: Any) -> str | None:
    error = part.exception()
    message = part.result() if error is None else f"job {part.job_id} failed: {error}"
    return None if message is None else str(message)


def _tail(parts: Iterable[Any]) -> str:
    lines: list[str] = []
    for part in parts:
        with suppress(OSError):
            lines += part.paths.stderr.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join([": the end of its log", *lines]) if lines else ""
