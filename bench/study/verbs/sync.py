"""Give MLflow the runs that it missed, once each.

Runs that failed or were killed are among them, with their curves up to there; runs that are under way are not.

Examples::

    python -m bench sync                                     all that runs_dir has and MLflow lacks
    python -m bench sync tracking.uri=http://127.0.0.1:5000  to the server at that address
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bench.choice import choices
from bench.keys import ConfigError
from bench.record.folder import RecordError, RunFolder
from bench.record.runs_dir import Sweep, read_sweeps, run_folders
from bench.record.state import configuration_of
from bench.study.launcher.execution import Busy, run_lock
from bench.study.sweep.compose import single
from bench.study.sweep.library import RUN
from bench.study.sweep.settings import Settings
from bench.study.tracking.contract import Tracker, Tracking, TrackingError

Outcome = Literal["delivered", "there", "unreadable", "unfinished"]
"""What becomes of a run: MLflow has it now, or had it already; or it cannot be read; or it is under way, or has never
begun."""


def main(arguments: argparse.Namespace) -> int:
    """Deliver every run of ``runs_dir`` that has ended and that MLflow lacks; 1 if one of them could not be.

    Raises:
        ConfigError: an override is wrong, there is nothing to deliver, or no MLflow at ``tracking.uri``.
    """
    settings = single(arguments.overrides, RUN.beside(arguments.config_dir)).settings
    if not settings.tracking.keeps:
        allowed = ", ".join(name for name, kind in choices(Tracking).items() if kind.keeps)
        raise ConfigError(f"tracking={settings.tracking.name!r}: there is nowhere to deliver to; allowed is {allowed}")
    folders = {folder.path.name: folder for folder in run_folders(Path(settings.runs_dir))}
    if not folders:
        raise ConfigError(f"runs_dir={settings.runs_dir!r}: holds no runs")
    try:
        found = _deliver_all(settings, folders)
    except TrackingError as error:
        print(f"bench: MLflow is away; the same command goes on later: {error}", file=sys.stderr)
        return 1
    unreadable = f"; {found['unreadable']} cannot be read" if found["unreadable"] else ""
    print(f"delivered {found['delivered']} runs; {found['there']} were there already{unreadable}")
    return 1 if unreadable else 0


def _deliver_all(settings: Settings, folders: dict[str, RunFolder]) -> Counter[Outcome]:
    """Deliver the runs, and count what became of them. A run that several sweeps asked for is the first one's."""
    from tqdm import tqdm

    found: Counter[Outcome] = Counter()
    with tqdm(total=len(folders), desc="delivering", unit=" runs", disable=not sys.stderr.isatty()) as bar:
        for sweep, names in _by_sweep(settings, list(folders)):
            follower = settings.tracker()
            settings.begin(follower, sweep)
            news = [_deliver(follower, folders[name]) for name in names]
            bar.update(len(names))
            found.update(news)
            if "delivered" in news:
                follower.end("", failed=sum(not folders[name].record.exists() for name in names))
    return found


def _by_sweep(settings: Settings, names: Sequence[str]) -> list[tuple[Sweep, list[str]]]:
    """Each sweep with its runs; those of none come last."""
    left, groups = set(names), []
    for sweep in [*read_sweeps(Path(settings.runs_dir)), Sweep((), ())]:
        own = [name for name in names if name in left and (name in sweep.points or not sweep.points)]
        left -= set(own)
        groups.append((sweep, own))
    return [(sweep, own) for sweep, own in groups if own]


def _deliver(follower: Tracker, folder: RunFolder) -> Outcome:
    """Deliver one run, and return what became of it; one that cannot be read is named."""
    try:
        with run_lock(folder):
            # The log of an older version does not say of which run it is.
            if not folder.record.exists() and configuration_of(folder) is None:
                return "unfinished"
            return "delivered" if follower.deliver(folder) else "there"
    except Busy:
        return "unfinished"
    except RecordError as error:
        print(f"passed over: {error}", file=sys.stderr)
        return "unreadable"
