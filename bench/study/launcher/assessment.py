"""How a run stands to the conditions of convergence: its schedule's verdict, and its rates against the caps.

The caps need the smoothness of the loss, which takes Hessian-vector products. It is estimated once a workload, and kept
in the folder of runs.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.choice import telling
from bench.config import RunConfig
from bench.keys import ConfigError
from bench.plan.clock import Clock
from bench.plan.interval import Interval, mean
from bench.rule.convergence import Limit, Verdict, cap, verdict
from bench.rule.lr.contract import updates
from bench.system.file import write_json_atomic

FOLDER = "smoothness"
"""The folder, in that of the runs, where estimates of the smoothness are kept."""
BATCHES = 3
BATCH_SIZE = 32
"""The most images of a batch for the estimate, which has to be cheap beside the training."""


@dataclass(frozen=True)
class Assessment:
    """How a run stands to the conditions of convergence."""

    verdict: Verdict
    smoothness: Interval
    """The smoothness L over several batches, at the initial weights."""
    limits: tuple[Limit, ...]
    """The limit on each stage's rate."""
    updates: int
    """Updates of the whole run."""
    updates_per_epoch: int

    def record(self) -> dict[str, Any]:
        """What a record holds of it."""
        return {
            "verdict": self.verdict.word,
            "conditions": [vars(condition) for condition in self.verdict.conditions],
            "smoothness": self.smoothness._asdict(),
            "limits": [vars(limit) for limit in self.limits],
        }

    def metrics(self) -> dict[str, float]:
        """The largest rate of any stage, and the least cap."""
        return {"lr/max": max(limit.rate for limit in self.limits), "lr/cap": min(limit.cap for limit in self.limits)}


def warning(found: Verdict, config: RunConfig) -> str | None:
    """The line that warns of a run outside the conditions; None for one within them."""
    if found.word == "convergent":
        return None
    reasons = "; ".join(f"{condition.name}? no, {condition.why}" for condition in found.failed)
    return f"lr={config.lr.name}: verdict {found.word} ({reasons})"


def assess(config: RunConfig, prepared: Path | None, runs_dir: str) -> Assessment:
    """Judge a run, in a process that has torch.

    Args:
        prepared: the prepared data's file.
        runs_dir: where the estimate of the smoothness is kept.

    Raises:
        ConfigError: it is outside the conditions, and ``lr.require_convergent`` is set; or a user's own model or
            learning rate fails.
    """
    from bench.task.batches import batches_per_epoch

    images = len(config.data.load(prepared).fitted)
    per_epoch = batches_per_epoch(images, config.batch_size, config.replicas)
    steps = updates(config.epochs, config.max_steps, per_epoch)
    with telling(type(config.lr)):
        top = config.lr.peak(steps, per_epoch)
    with telling(type(config.model)):
        found = mean(_smoothness(config, prepared, runs_dir))
    limits = tuple(Limit(top * part, most) for part, most in _shares_and_caps(config, found))
    judged = verdict(config.lr, limits)
    check_convergent(judged, config)
    return Assessment(judged, found, limits, steps, per_epoch)


def largest_rate(config: RunConfig, prepared: Path | None, runs_dir: str) -> float:
    """The largest rate with which every stage stays within its cap, in a process that has torch."""
    return min(most / part for part, most in _shares_and_caps(config, mean(_smoothness(config, prepared, runs_dir))))


def _shares_and_caps(config: RunConfig, smoothness: Interval) -> list[tuple[float, float]]:
    """Each stage's share of the learning rate, and the cap on its rate."""
    clock = Clock(config.stages, config.staleness, 0)
    delays = [clock.lag(stage) for stage in range(config.stages)]
    return [(config.lr.share(delay), cap(_upper(smoothness), delay)) for delay in delays]


def assess_all(configs: Sequence[RunConfig], prepared: Sequence[Path | None], runs_dir: str) -> list[Assessment]:
    """Judge each run as :func:`assess` does."""
    return [assess(*pair, runs_dir) for pair in zip(configs, prepared, strict=True)]


def check_convergent(found: Verdict, config: RunConfig) -> None:
    """Hold a verdict against what the run asks for.

    Raises:
        ConfigError: it is outside the conditions, and ``lr.require_convergent`` is set.
    """
    if config.lr.require_convergent and (refusal := warning(found, config)):
        raise ConfigError(f"{refusal}; lr.require_convergent=true allows the verdict convergent alone")


def _upper(smoothness: Interval) -> float:
    """The smoothness that the caps have to hold for: its upper end over the batches, or a single batch's own."""
    return smoothness.mean if math.isnan(smoothness.high) else smoothness.high


def _smoothness(config: RunConfig, prepared: Path | None, runs_dir: str) -> list[float]:
    """The smoothness on a few batches at the initial weights of seed 0, kept in the folder of runs."""
    from bench.engine.measure.curvature import curvatures

    size, dataset = min(config.batch_size, BATCH_SIZE), config.data.load(prepared)
    # Second derivatives of convolutions are a quarter faster in the plain layout.
    asked = replace(config, seed=0, batch_size=size, replicas=1, precision="float32", channels_last=False)
    keys = {name: asked.resolved()[name] for name in ("model", "data", "batch_size")} | {"digest": dataset.digest}
    name = hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()[:12]
    file = Path(runs_dir, FOLDER, f"{name}.json")
    try:
        values = [float(value) for value in json.loads(file.read_text())["curvatures"]]
    except (OSError, ValueError, KeyError, TypeError):
        try:
            values = curvatures(asked, dataset, BATCHES)
        except ValueError as error:
            raise _untrainable(config, str(error)) from None
        write_json_atomic(file, {**keys, "curvatures": values})
    if not any(values):
        raise _untrainable(config, "the loss is flat at the initial weights")
    return values


def _untrainable(config: RunConfig, why: str) -> ConfigError:
    return ConfigError(f"model={config.model.name}: {why}; allowed is one that can be trained")
