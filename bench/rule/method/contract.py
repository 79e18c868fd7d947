"""What every method is: how the agents train, with facts that all rooms ask for instead of its name.

Pieces of the network count from 0 in the order of the layers, stages from 0. With three stages::

    one piece each    0   1   2        in a V (zero_bubble)   0   1   2
                                                              5   4   3
    in a loop         0   1   2
    (interleaved)     3   4   5
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

from bench.choice import NAME, SOURCE, Choice, kind_of
from bench.keys import ConfigError
from bench.plan.forecast.orders import Pass
from bench.rule.run_keys import RunKeys


class Method(Choice):
    """How the agents train. One that is not known here, as a newer version's record may name it, has these facts."""

    group: ClassVar[str] = "method"
    worker: ClassVar[str]
    """Dotted path of the engine's class for one process's part in it."""
    oracle: ClassVar[str] = ""
    """Dotted path of the engine's class for all agents in one process, without messages; empty where there is none."""
    pieces: ClassVar[int] = 1
    """Pieces of the network that each stage holds."""
    stale: ClassVar[bool] = False
    """Whether staleness, and what is done about it, means something to it."""
    microbatched: ClassVar[bool] = False
    """Whether it splits a batch into microbatches, passes these through the stages, and updates when all are back."""
    whole: ClassVar[bool] = False
    """Whether every process holds the whole network."""
    splits_backward: ClassVar[bool] = False
    """Whether the gradients of the weights have a pass of their own, after that to the gradients of the input."""

    def refuses(self, run: RunKeys) -> str | None:
        """Say what it does not go with in the rest of the run, as a whole message that begins with a key and its value;
        None if it goes with all of it."""
        if run.engine == "reference" and not self.oracle:
            return f"engine=reference is no oracle of method={self.name}, which needs engine=distributed"
        return None

    def try_out(self, run: Any) -> None:
        """Look up the engine's classes that it names."""
        engine_class(self.oracle if run.engine == "reference" else self.worker)

    def misfit(self, stages: int, microbatches: int) -> str | None:  # noqa: ARG002
        """Say why so many stages cannot pass on so many microbatches; None if they can."""
        return None

    def holder(self, stages: int, piece: int) -> int:
        """The stage that holds a piece: one after the other, in a loop (Narayanan et al. 2021) where there are more."""
        return piece % stages

    def held(self, stages: int, stage: int) -> list[int]:
        """The pieces that a stage holds, in increasing order."""
        return [piece for piece in range(stages * self.pieces) if self.holder(stages, piece) == stage]

    def orders(self, stages: int, microbatches: int) -> list[list[Pass]]:
        """The order of the passes of each stage, for one update of a method with microbatches.

        Raises:
            ValueError: it cannot pass on so many microbatches.
        """
        raise NotImplementedError


def engine_class(path: str) -> Any:
    """The class of a dotted path; torch's own methods take a second to import, which other runs save.

    Raises:
        ImportError, AttributeError: there is none.
    """
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def facts_of(named: str | Mapping[str, Any]) -> type[Method]:
    """What is known of a method that a record names, maybe another version's or a user's: :class:`Method` if nothing
    is."""
    values = {NAME: named} if isinstance(named, str) else {key: named[key] for key in named if key != SOURCE}
    try:
        return kind_of(Method, values)
    except ConfigError:
        return Method


def name_of(named: str | Mapping[str, Any]) -> str:
    """The name of a method that a record names."""
    return named if isinstance(named, str) else str(named[NAME])
