"""Corrections for staleness, as pure rules. At staleness 0 none changes a bit."""

from __future__ import annotations

import math

from bench.rule.correction.lr_discount import RateDiscount
from bench.rule.correction.none import NoCorrection
from bench.rule.correction.shrink import Shrink
from bench.rule.correction.weight_prediction import WeightPrediction


def discount(correction: Correction, delay: int, step: int, steps: int) -> float:
    """The factor on the learning rate of a stage whose gradients are ``delay`` updates old.

    ``delay^-q``, where q falls linearly from 1 at the first update to 0: the first of the three techniques of PipeMare
    (Yang et al. 2021, arXiv 1910.05124).

    Args:
        step: the update, ``0 .. steps - 1``.
        steps: updates in the whole run.
    """
    if not isinstance(correction, RateDiscount) or delay == 0:
        return 1.0
    return math.pow(delay, -max(0.0, 1 - step / (correction.until * steps)))


def shrinkage(correction: Correction, staleness: int) -> float:
    """The factor on a gradient that a stage receives from the next one (FDG, Zhuang et al. 2021, arXiv 1906.09108)."""
    return correction.beta if isinstance(correction, Shrink) and staleness else 1.0


Correction = NoCorrection | Shrink | RateDiscount | WeightPrediction
