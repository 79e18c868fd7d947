"""``python -m bench download data=cifar10``: fetch a data set, by the user's own command."""

from __future__ import annotations

import argparse

from bench.study.sweep.compose import compose
from bench.study.sweep.library import RUN


def main(arguments: argparse.Namespace) -> int:
    """Download and decode; 0 when the data is ready.

    Raises:
        ConfigError: the data is not one that can be downloaded.
    """
    config = compose(arguments.overrides, RUN.beside(arguments.config_dir))
    config.data.download()
    config.data.prepare()
    return 0
