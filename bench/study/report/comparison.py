"""What may be compared with what, whoever shows it: a sweep's table, a report and its pictures, a study.

A configuration's keys are of three kinds. The seed is the repeat: runs of one seed were made in one round of a sweep,
so that ratios are taken between them, and the machine's drift falls out. *Ways to train* may differ between runs that
are compared. All other keys are the *work*, which such runs have in common.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.rule.clip.none import NoClip
from bench.rule.correction.none import NoCorrection

REPEAT = "seed"
DELAY = ("staleness", "weights", "correction", "lr.staleness_power", "flush_every")
"""Keys of staleness and of what meets it: without staleness, nothing is left of them."""
NEUTRAL = {"correction.name": NoCorrection.name, "lr.staleness_power": 0.0, "flush_every": None}
"""Keys that change nothing in a run with staleness at these values; its canonical configuration leaves them out."""
UNSAID = {"clip.name": NoClip.name}
"""Keys that a canonical configuration leaves out at these values, with staleness or without."""
WAYS = (*DELAY, "stages", "replicas", "method", "microbatches", "averaging", "clip", "partition", "backend", "engine")
LENGTH = ("lr", "epochs", "max_steps", "loss_limit")
"""Keys of the work that do not change the time that a sample takes."""


def is_of(key: str, names: Sequence[str]) -> bool:
    """Whether a dotted key, or the group that it is of, has one of these names."""
    return key in names or key.partition(".")[0] in names


def shared(keys: Mapping[str, Any], *apart: str) -> str:
    """Canonical keys, flat, but those that may differ: a text that is the same for all that have the others in common.

    Args:
        apart: names of keys, or of whole groups.
    """
    return json.dumps({key: value for key, value in keys.items() if not is_of(key, apart)}, sort_keys=True)
