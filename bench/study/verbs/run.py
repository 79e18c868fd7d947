"""``python -m bench [run]``: one run, or a sweep of them."""

from __future__ import annotations

import argparse

from bench.keys import ConfigError
from bench.study.sweep.compose import points, written
from bench.study.sweep.library import RUN, typed


def main(arguments: argparse.Namespace) -> int:
    """Run what the command line asks for; return the exit code (design 3).

    Raises:
        ConfigError: a configuration is wrong; nothing was run.
        Interrupted: the user wants the end.
    """
    primary = RUN.beside(arguments.config_dir)
    if arguments.cfg:
        if arguments.multirun:
            raise ConfigError("--cfg=job: prints one run's configuration; allowed is a run, without -m")
        print(written(arguments.overrides, primary), end="")
        return 0
    asked = points(arguments.overrides, arguments.multirun, primary)
    if asked[0].settings.dry_run:
        from bench.study.predict.preview import preview

        return preview(asked)
    from bench.study.sweep.sweep import run_all

    return run_all(asked, typed(arguments.overrides, arguments.config_dir))
