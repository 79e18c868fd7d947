"""Say which runs go on, how far they are, and what has come of the others.

It reads the folders of ``runs_dir`` alone, whoever has started the runs and wherever they train. With overrides that
name points it tells of these, those that are still to do included.

Examples::

    python -m bench status                                   what runs, what failed and why, and how many are done
    python -m bench status runs_dir=/shared/runs             in another folder, of whichever machines
    python -m bench status -m +experiment=grid               the points of a sweep: done, running, failed, to do
    watch -n 10 python -m bench status                       again every ten seconds
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.config import grid_label, parse_recorded
from bench.keys import ConfigError
from bench.record.folder import RecordError, RunFolder
from bench.record.runs_dir import run_folders
from bench.record.state import RunState, state_of
from bench.study.predict.estimate import duration
from bench.study.sweep.compose import Point, points
from bench.study.sweep.library import CONF, RUN
from bench.study.sweep.settings import names_points
from bench.system.wording import gist

MULTIRUN = True
TO_DO = "to do"
ORDER = ("running", "failed", "killed", "pruned", TO_DO)
"""What a line tells of each, in this order; of those that are done, their number says enough."""
PLAIN = re.compile(r"runs_dir=([\w.-]*/[\w./-]*)", re.ASCII)
"""An override that means in Hydra's grammar what it says."""
COUNTED = ("done", "diverged", *ORDER)
SILENT_SECONDS = 60.0
"""Seconds without a word after which a run is said to be silent: its agents say something every second."""


class Told(NamedTuple):
    """One run."""

    name: str
    """Its hash."""
    state: RunState | None
    """Where it stands; None where it has not begun."""
    label: str
    """What singles it out, for people."""

    @property
    def standing(self) -> str:
        return self.state.standing if self.state else TO_DO


def main(arguments: argparse.Namespace) -> int:
    """Print a line for each run that is not done, and how many there are of each kind.

    Raises:
        ConfigError: an override is wrong, or there are no runs.
    """
    primary = RUN.beside(arguments.config_dir)
    runs_dir = None if arguments.multirun else _plain_folder(arguments.overrides)
    asked = [] if runs_dir else points(arguments.overrides, arguments.multirun, primary)
    runs_dir = runs_dir or asked[0].settings.runs_dir
    runs = [*(_of_points(asked) if names_points(arguments.overrides) else _of_folder(Path(runs_dir)))]
    if not runs:
        raise ConfigError(f"runs_dir={runs_dir!r}: holds no runs")
    print("\n".join(table(runs, time.time())))
    return 0


def _plain_folder(overrides: Sequence[str]) -> str | None:
    """The folder of runs, where it is plain without Hydra, whose import takes longer than all else; None elsewhere."""
    import yaml

    if not overrides:
        return str(yaml.safe_load((CONF / f"{RUN.file}.yaml").read_text())["runs_dir"])
    typed = PLAIN.fullmatch(overrides[0]) if len(overrides) == 1 else None
    return typed[1] if typed else None


def table(runs: Sequence[Told], now: float) -> list[str]:
    """A line for each run that is not done, and one with the numbers of all.

    Args:
        now: the Unix time, in seconds.
    """
    counts = Counter(run.standing for run in runs)
    wide = max((len(standing) for standing in ORDER if counts[standing]), default=0)
    lines = [
        " ".join([standing.ljust(wide), run.label, *(["·", words] if (words := _words(run, now)) else [])])
        for standing in ORDER
        for run in runs
        if run.standing == standing
    ]
    return [*lines, ", ".join(f"{counts[standing]} {standing}" for standing in COUNTED if counts[standing])]


def _words(run: Told, now: float) -> str:
    """What is to be said of a run that is not done."""
    if run.state is None:
        return ""
    return _progress(run.state, now) if run.state.standing == "running" else gist(run.state.message)


def _progress(state: RunState, now: float) -> str:
    """How far a run is."""
    if state.steps is None or state.epochs is None:
        return "starts"
    step, epoch = state.step or 0, min((state.epoch or 0) + 1, state.epochs)
    words = [f"epoch {epoch}/{state.epochs}", f"update {step}/{state.steps} ({step / state.steps:.0%})"]
    words += [f"{state.units_per_second:.0f} {state.judgement.short}/s"] if state.units_per_second else []
    words += [f"about {duration(state.seconds_left)} left"] if state.seconds_left is not None else []
    silent = now - (state.last or now)
    words += [f"silent for {duration(silent)}"] if silent >= SILENT_SECONDS else []
    return " · ".join(words)


def _of_folder(runs_dir: Path) -> Iterator[Told]:
    """All runs of a folder; what cannot be read is named."""
    for folder in run_folders(runs_dir):
        if state := _state(folder):
            name = folder.path.name
            yield Told(name, state, _label(name, state) if state.standing in ORDER else name)


def _of_points(asked: Sequence[Point]) -> Iterator[Told]:
    """The runs of the points, those that have not begun too."""
    settings = asked[0].settings
    kept = settings.records_file
    known = set(kept.read(lambda record: str(record["config_hash"])).runs) if kept else set()
    for point in asked:
        folder = settings.folder(point.config)
        name = folder.path.name
        state = _state(folder) or (RunState("done") if name in known else None)
        words = [grid_label(point.config.canonical()), name, *(["·", " ".join(point.overrides)] if not state else [])]
        yield Told(name, state, " ".join(words))


def _state(folder: RunFolder) -> RunState | None:
    try:
        return state_of(folder)
    except RecordError as error:
        print(f"passed over: {error}", file=sys.stderr)
        return None


def _label(name: str, state: RunState) -> str:
    """A run's short name for people; of one that an older version has begun, its hash alone is known."""
    try:
        keys = parse_recorded(state.keys or {}).canonical()
    except ConfigError:
        return name
    return f"{grid_label(keys)} {name}"
