"""``python -m bench [run]``: one run, or a sweep of them."""

from __future__ import annotations

import argparse

from bench.study.compose import Point, compose, sweep
from bench.study.elsewhere import terminable


def main(arguments: argparse.Namespace) -> int:
    """Run what the command line asks for; return the exit code (design 3).

    Raises:
        ConfigError: a configuration is wrong; nothing was run.
        Interrupted: the user wants the end.
    """
    overrides = arguments.overrides
    with terminable():
        points = sweep(overrides) if arguments.multirun else [Point(compose(overrides), ())]
        if points[0].config.dry_run:
            from bench.study.preview import preview

            return preview(points)
        from bench.study.sweep import run_all

        return run_all(points, overrides)
