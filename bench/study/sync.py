"""``python -m bench sync``: give MLflow the runs that it missed, once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.config import ConfigError, MLflow, RunConfig
from bench.study.attempt import Busy, alone
from bench.study.compose import compose
from bench.study.record import RecordError, RunFolder
from bench.study.shelf import Sweep, read_sweeps, run_folders
from bench.study.tracking import Tracker, TrackingError, tracker


def main(arguments: argparse.Namespace) -> int:
    """Deliver every record of ``runs_dir`` that MLflow lacks; 1 if it goes away meanwhile.

    Raises:
        ConfigError: an override is wrong, there is nothing to deliver, or no MLflow at ``tracking.uri``.
    """
    config = compose(arguments.overrides)
    if not isinstance(config.tracking, MLflow):
        raise ConfigError("tracking='none': there is nowhere to deliver to; allowed is mlflow")
    folders = {folder.path.name: folder for folder in run_folders(Path(config.runs_dir))}
    if not folders:
        raise ConfigError(f"runs_dir={config.runs_dir!r}: holds no runs")
    try:
        delivered, there = _deliver_all(config, folders)
    except TrackingError as error:
        print(f"bench: MLflow is away; the same command goes on later: {error}", file=sys.stderr)
        return 1
    print(f"delivered {delivered} runs; {there} were there already")
    return 0


def _deliver_all(config: RunConfig, folders: dict[str, RunFolder]) -> tuple[int, int]:
    """How many were delivered, and how many MLflow had. A run that several sweeps asked for is the first one's."""
    from tqdm import tqdm

    delivered = there = 0
    with tqdm(total=len(folders), desc="delivering", unit=" runs", disable=not sys.stderr.isatty()) as bar:
        for sweep, names in _by_sweep(config, list(folders)):
            follower = tracker(config.tracking)
            follower.begin(sweep)
            news = [_deliver(follower, folders[name]) for name in names]
            bar.update(len(names))
            delivered, there = delivered + news.count(True), there + news.count(False)
            if True in news:
                follower.end("", failed=sum(not folders[name].record.exists() for name in names))
    return delivered, there


def _by_sweep(config: RunConfig, names: Sequence[str]) -> list[tuple[Sweep, list[str]]]:
    """Each sweep with its runs; those of none come last."""
    left, groups = set(names), []
    for sweep in [*read_sweeps(Path(config.runs_dir)), Sweep((), ())]:
        own = [name for name in names if name in left and (name in sweep.points or not sweep.points)]
        left -= set(own)
        groups.append((sweep, own))
    return [(sweep, own) for sweep, own in groups if own]


def _deliver(follower: Tracker, folder: RunFolder) -> bool | None:
    """Whether it was news to MLflow; None for a run without an end, or one that cannot be read, which is named."""
    try:
        with alone(folder):
            if folder.record.exists():
                return follower.deliver(folder)
            return None
    except Busy:
        return None
    except RecordError as error:
        print(f"set aside: {error}", file=sys.stderr)
        return None
