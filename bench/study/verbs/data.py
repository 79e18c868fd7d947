"""Decode a data set, check it, and say what it is.

Examples::

    python -m bench data data=digits                         what a data set is, and its digest
    python -m bench data data=imagefolder data.folder=mine   decode and check your own
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bench.keys import ConfigError
from bench.study.launcher.check import ready
from bench.study.sweep.compose import data_of
from bench.study.sweep.library import RUN
from bench.system.file import write_json_atomic


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", metavar="FILE", help="where its description is written (printed)")


def main(arguments: argparse.Namespace) -> int:
    """Print the description as JSON, or write it to ``--output``.

    Raises:
        ConfigError: an override is wrong, the data is missing or damaged, or the file cannot be written.
    """
    data = data_of(arguments.overrides, RUN.beside(arguments.config_dir))
    if "://" in (arguments.output or ""):
        raise ConfigError(f"--output={arguments.output!r}: must be a file of this machine, not a URL")
    description = {"name": data.name, **ready(data)[1].describe()}
    if arguments.output is None:
        print(json.dumps(description, indent=2))
        return 0
    try:
        write_json_atomic(Path(arguments.output), description)
    except OSError as error:
        raise ConfigError(
            f"--output={arguments.output!r}: must be a file that can be written ({error.strerror})"
        ) from None
    return 0
