"""What is known of a run before it trains: its shape, whether a theorem covers it, and its margin.

The margin needs the smoothness of the loss, which takes Hessian-vector products. It is estimated once a workload, and
kept in the folder of runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.choice import telling
from bench.config import RunConfig
from bench.keys import ConfigError
from bench.plan.interval import Interval, mean
from bench.rule.convergence import Shape, Verdict, bound_of, limits_of, outside_of, shape_of
from bench.rule.lr.contract import updates
from bench.system.file import write_json_atomic

FOLDER = "smoothness"
"""The folder, in that of the runs, where estimates of the smoothness are kept."""
BATCHES = 3


@dataclass(frozen=True)
class Assessment:
    """What is known of a run before it trains."""

    verdict: Verdict
    smoothness: Interval
    """The smoothness L over several batches, at the initial weights."""
    updates: int
    """Updates of the whole run."""
    updates_per_epoch: int

    def record(self) -> dict[str, Any]:
        """What a record holds of it."""
        return self.verdict.record() | {"smoothness": self.smoothness._asdict()}

    def metrics(self) -> dict[str, float | None]:
        """The largest margin of a stage."""
        return {"lr/margin": self.verdict.margin}


def assess(config: RunConfig, prepared: Path | None, runs_dir: str) -> Assessment:
    """Judge a run, in a process that has torch.

    Args:
        prepared: the prepared data's file.
        runs_dir: where the estimate of the smoothness is kept.

    Raises:
        ConfigError: ``lr.require_convergent`` is set, and the run is not as that asks; or a user's own model or
            learning rate fails.
    """
    from bench.task.dataset import batches_per_epoch

    samples = config.dataset(prepared).samples
    per_epoch = batches_per_epoch(samples, config.batch_size, config.replicas)
    steps = updates(config.epochs, config.max_steps, per_epoch)
    with telling(type(config.lr)):
        top = config.lr.peak(steps, per_epoch)
        rates = [config.lr.rate(step, steps, per_epoch) for step in range(steps)]
    found = smoothness(config, prepared, runs_dir)
    bound, limits = bound_of(rates, found.mean), limits_of(config, top, found.mean)
    judged = Verdict(shape_of(config.lr), outside_of(config), bound, limits)
    check_convergent(config, judged.shape, judged.outside, judged)
    return Assessment(judged, found, steps, per_epoch)


def smoothness(config: RunConfig, prepared: Path | None, runs_dir: str) -> Interval:
    """The smoothness of the loss over several batches at the initial weights, in a process that has torch.

    Raises:
        ConfigError: the model cannot be trained.
    """
    with telling(type(config.model)):
        return mean(_smoothness(config, prepared, runs_dir))


def assess_all(configs: Sequence[RunConfig], prepared: Sequence[Path | None], runs_dir: str) -> list[Assessment]:
    """Judge each run as :func:`assess` does."""
    return [assess(*pair, runs_dir) for pair in zip(configs, prepared, strict=True)]


def check_convergent(config: RunConfig, shape: Shape, outside: Sequence[str], judged: Verdict | None = None) -> None:
    """Hold what is known of a run against what it asks for.

    Args:
        judged: all that is known; None as long as nobody has estimated the smoothness.

    Raises:
        ConfigError: ``lr.require_convergent`` is set, and the run is not convergent, not covered, or over its margin.
    """
    if not config.lr.require_convergent:
        return
    reasons = [] if shape.word == "convergent" else [f"lr={config.lr.name} has the shape {shape.word} ({shape.why})"]
    reasons += [f"no theorem covers it: {reason}" for reason in outside]
    if judged is not None and (judged.margin is None or judged.margin > 1):
        reasons.append(f"the margin is {judged.margin_in_words()}")
    if reasons:
        raise ConfigError(
            f"lr.require_convergent=true: {'; '.join(reasons)}; allowed is a run of the shape convergent that a "
            "theorem covers, with a margin of at most 1 (python -m bench rates)"
        )


def _smoothness(config: RunConfig, prepared: Path | None, runs_dir: str) -> list[float]:
    """The smoothness on a few batches at the initial weights of seed 0, kept in the folder of runs."""
    from bench.engine.measure.curvature import SAMPLES, curvatures

    size, dataset = min(config.batch_size, SAMPLES), config.dataset(prepared)
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
