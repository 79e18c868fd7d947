"""``python -m bench [run]``: one run, or a sweep of them."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from bench.study.compose import Point, compose, sweep
from bench.study.elsewhere import Interrupted


def main(arguments: argparse.Namespace) -> int:
    """Run what the command line asks for; return the exit code (design 3).

    Raises:
        ConfigError: a configuration is wrong; nothing was run.
        Interrupted: the user wants the end.
    """
    overrides = arguments.overrides
    with _terminable():
        points = sweep(overrides) if arguments.multirun else [Point(compose(overrides), ())]
        if points[0].config.dry_run:
            from bench.study.preview import preview

            return preview(points)
        from bench.study.sweep import run_all

        return run_all(points, overrides)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends this process as Ctrl-C does: in order, and not before MLflow knows of it."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
