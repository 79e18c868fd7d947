"""Hydra's compositions, remembered: tests ask for the same ones again and again, and each takes it 70 ms."""

from __future__ import annotations

import functools
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.study.sweep.library import Primary


def composed_once(compose: Callable[[Sequence[str], Primary], Any]) -> Callable[[Sequence[str], Primary], Any]:
    """``compose`` that answers a question from memory while no file that it depends on has changed.

    What it refuses is asked again. Each answer is an object of its own, which may be changed.
    """
    answers: dict[tuple[Any, ...], bytes] = {}

    @functools.wraps(compose)
    def composed(overrides: Sequence[str], primary: Primary) -> Any:
        question = (tuple(overrides), primary, tuple(_files(primary)))
        if question not in answers:
            answers[question] = pickle.dumps(compose(overrides, primary))
        return pickle.loads(answers[question])

    return composed


def _files(primary: Primary) -> Iterator[tuple[str, int, int]]:
    """Every file that a composition may read: its path, when it was last changed, and its size in bytes."""
    for place in primary.places:
        for folder, _, names in os.walk(place.absolute(), followlinks=True):
            for name in names:
                file = Path(folder, name)
                if file.suffix == ".yaml" and file.exists():
                    state = file.stat()
                    yield str(file), state.st_mtime_ns, state.st_size
