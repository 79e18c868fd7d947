"""Fetch a data set that torchvision knows, by the user's own command.

Examples::

    python -m bench download data=cifar10                    into data.folder; it is decoded, too
"""

from __future__ import annotations

import argparse

from bench.choice import telling
from bench.study.sweep.compose import data_of
from bench.study.sweep.library import RUN


def main(arguments: argparse.Namespace) -> int:
    """Download and decode; 0 when the data is ready.

    Raises:
        ConfigError: the data is not one that can be downloaded, or it is of a user's own and fails.
    """
    data = data_of(arguments.overrides, RUN.beside(arguments.config_dir))
    with telling(type(data)):
        data.download()
        data.prepare()
    return 0
