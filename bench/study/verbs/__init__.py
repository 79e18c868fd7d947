"""The verbs: what ``python -m bench VERB`` does, one file each, found by its place.

A file says all of its verb. Its docstring is what ``--help`` teaches: what the verb does in a line, more of it, and
last its ``Examples::``. ``main`` does it. ``options`` adds what it takes beside ``--config-dir`` and overrides, if
that is anything; ``MULTIRUN`` is true if it takes several points at once, with ``-m``.
"""

from __future__ import annotations

import argparse


def add_rounds(parser: argparse.ArgumentParser) -> None:
    """Add the option of every verb that measures in rounds."""
    parser.add_argument("--rounds", type=int, default=5, help="times that each contender is measured (5)")
