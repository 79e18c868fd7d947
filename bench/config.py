"""One run's configuration: what each key means, and what it may be.

Configuration is checked once, here, at the edge (:func:`parse`); everything behind it trusts the values. A key that is
wrong raises :class:`ConfigError`, whose message names the key, the value and what is allowed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.choice import NAME, Choice, check_together, choices, choices_of, plain_values, telling
from bench.keys import STRICT, Cardinal, ConfigError, Count, Positive, Seed, parse_as
from bench.origin import is_own
from bench.plan.clock import Clock
from bench.rule.averaging.allreduce import AllReduce
from bench.rule.averaging.contract import Averaging
from bench.rule.clip.contract import Clip
from bench.rule.clip.network import NetworkClip
from bench.rule.clip.none import NoClip
from bench.rule.clip.stage import StageClip
from bench.rule.correction.contract import Correction
from bench.rule.correction.none import NoCorrection
from bench.rule.lr.contract import LearningRate
from bench.rule.method.contract import Method, facts_of, name_of
from bench.rule.method.decoupled import Decoupled
from bench.rule.optimizer.contract import Optimizer
from bench.task.data.contract import Data
from bench.task.model.contract import Model

if TYPE_CHECKING:
    from bench.task.dataset import Dataset

WITHOUT_RESULT = ("tracking", "launcher", "runs_dir", "force", "dry_run")
"""Keys that older records have beside a run's own: how it was followed, started and kept."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that makes one run what it is."""

    __pydantic_config__ = STRICT
    stages: Count
    """K: pieces that the network is cut into."""
    replicas: Count
    """S: copies of the whole pipeline, each on its own shard of the data."""
    staleness: Cardinal
    """c: ticks of delay per stage boundary; 0 is back-propagation, 1 DDG, 2 FDG."""
    method: Method
    """How the agents train: delayed gradients, or one of the baselines, which know no staleness."""
    microbatches: Count
    """Parts that a batch is split into by the methods that pass such through the stages; 1 for the others."""
    weights: Literal["stashed", "latest", "recomputed"]
    """Weights that a backward pass uses: those of its forward pass, the current ones, or the current ones for both."""
    engine: Literal["distributed", "reference"]
    """One process an agent, or all agents in one process without messages (the oracle)."""
    epochs: Count
    max_steps: Count | None
    """Updates after which the run ends, whatever ``epochs`` says."""
    flush_every: Count | None
    """Updates from one flush point to the next within an epoch, for checkpoints; None where only its end is one."""
    loss_limit: Positive
    """Ends the run as diverged at the first flush at which an epoch's mean training loss is above it, or a loss (that
    of a split that it is judged by too) is not finite."""
    batch_size: Count
    """Samples per replica and tick."""
    seed: Seed
    device: Literal["cpu", "cuda"]
    precision: Literal["float32", "float64", "bfloat16"]
    channels_last: bool
    """Whether inputs with channels and convolution weights lie in memory with their channels last."""
    partition: Literal["measured", "counted"] | list[Count]
    """Where to cut: by measured seconds, by counted operations (the same on every machine), or after so many layers."""
    backend: Literal["auto", "gloo", "nccl"]
    """What moves tensors; with ``auto`` nccl where every rank has a GPU of its own, else gloo."""
    model: Model
    data: Data
    optimizer: Optimizer
    lr: LearningRate
    averaging: Averaging
    correction: Correction
    clip: Clip

    def __post_init__(self) -> None:
        if isinstance(self.partition, list):
            if len(self.partition) != self.pieces - 1:
                cuts = len(self.partition)
                raise ValueError(
                    f"partition={self.partition} has {cuts} cuts; {self._looped}stages={self.stages} needs "
                    f"{self.pieces - 1}"
                )
            if sorted(set(self.partition)) != self.partition:
                raise ValueError(f"partition={self.partition} must increase")
        if self.backend == "nccl" and self.device != "cuda":
            raise ValueError(f"backend=nccl needs device=cuda, not device={self.device}")
        if self.weights == "latest" and self.precision == "bfloat16":
            raise ValueError(
                "weights=latest needs precision=float32 or float64: under bfloat16 autocast the backward pass keeps "
                "the weights that were cast for its forward pass"
            )
        with telling(type(self.method)):
            if refusal := self.method.refuses(self):
                raise ConfigError(refusal)
        self._check_kinds()
        task = [self.model, self.data]
        check_together(self, [each for each in self.choices if each is not self.method] if self.method.stale else task)

    def _check_kinds(self) -> None:
        """Check that the model takes what the data has.

        Raises:
            ValueError: it does not.
        """
        taken, unit = self.model.unit, self.data.task.unit
        if taken != unit:
            models = ", ".join(name for name, kind in choices(Model).items() if kind.unit == unit)
            data = ", ".join(name for name, kind in choices(Data).items() if kind.task.unit == taken)
            raise ValueError(
                f"model={self.model.name} takes {taken}s, and data={self.data.name} has {unit}s; allowed are "
                f"data={data} with this model, or model={models} with this data"
            )

    @property
    def choices(self) -> list[Choice]:
        """What the groups of the configuration name."""
        return choices_of(self)

    @property
    def agents(self) -> int:
        """The number of processes of the distributed engine: K * S."""
        return self.stages * self.replicas

    @property
    def processes(self) -> int:
        """The number of processes that train: one an agent, or the oracle's one."""
        return 1 if self.engine == "reference" else self.agents

    @property
    def units(self) -> int:
        """The units of the task that all replicas' batches of an update have."""
        return self.batch_size * self.replicas * self.model.window

    @property
    def pieces(self) -> int:
        """The number of pieces that the network is cut into: one a stage, or two."""
        return self.stages * self.method.pieces

    @property
    def _looped(self) -> str:
        return f"method={self.method.name} " if self.method.pieces > 1 else ""

    def dataset(self, prepared: Path | None = None) -> Dataset:
        """Load what the network learns from, cut as the model takes it.

        Args:
            prepared: the file that the data was prepared in.

        Raises:
            ConfigError: as of :meth:`~bench.task.data.contract.Data.load`, or there is less than the model takes.
        """
        return self.data.load(prepared).in_windows(self.model.window)

    def clock(self, batches: int) -> Clock:
        """The ticks of so many batches from one flush point to the next."""
        return Clock(self.stages, self.staleness, batches, self.clip.spans_stages)

    def resolved(self) -> dict[str, Any]:
        """All keys, as :func:`parse` takes them. One of the suite's methods, which have no keys, is its name alone."""
        return plain_values(self) | ({"method": self.method.name} if is_own(type(self.method)) else {})

    def canonical(self) -> dict[str, Any]:
        """The keys that decide the result, with equivalent points made equal (staleness means nothing at K=1)."""
        return canonical(self.resolved())

    def hash(self) -> str:
        """The name of the run: :func:`hash_of` its keys."""
        return hash_of(self.resolved())


def hash_of(resolved: Mapping[str, Any]) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of :func:`canonical`."""
    text = json.dumps(canonical(resolved), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def canonical(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that decide the result (:meth:`RunConfig.canonical`), of plain values, maybe an older version's."""
    keys = {key: value for key, value in resolved.items() if key not in WITHOUT_RESULT}
    if keys["stages"] == 1:
        keys |= {"staleness": 0, "partition": []}
    if keys["staleness"] == 0:
        keys["weights"] = "stashed"
    if keys["staleness"] == 0 or not keys.get("flush_every"):  # what never waits has nothing to drain
        keys.pop("flush_every", None)
    if not facts_of(keys["method"]).microbatched:
        keys.pop("microbatches", None)
    if not keys["data"].get("validation"):
        keys["data"] = {key: value for key, value in keys["data"].items() if key != "validation"}
    if keys["replicas"] == 1:
        keys["averaging"] = AllReduce().values()
    keys["lr"] = {key: value for key, value in keys["lr"].items() if key != "require_convergent"}
    for name in ("margin_every", "floor"):  # 0, or what an older version had not
        if not keys["lr"].get(name):
            keys["lr"].pop(name, None)
    if keys["optimizer"].get("decayed") == "all":
        keys["optimizer"] = {key: value for key, value in keys["optimizer"].items() if key != "decayed"}
    if keys["staleness"] == 0 or keys.get("correction", {}).get("name") == NoCorrection.name:
        keys.pop("correction", None)
    clip = keys.pop("clip", NoClip().values())
    if clip["name"] != NoClip.name:
        alone = keys["stages"] == 1 and clip["name"] == NetworkClip.name
        keys["clip"] = clip | {"name": StageClip.name} if alone else clip
    if not (keys["staleness"] and keys["lr"].get("staleness_power")):
        keys["lr"].pop("staleness_power", None)
    return keys


def grid_label(keys: Mapping[str, Any]) -> str:
    """Name a method on its grid in a few characters, by canonical keys: ``K2 S1 c2``, ``K2 S1 1f1b m4``.

    The last number is the staleness or, of a method that has them, the microbatches.
    """
    how, name = facts_of(keys["method"]), name_of(keys["method"])
    words = [f"K{keys['stages']}", f"S{keys['replicas']}", *([name] if name != Decoupled.name else [])]
    words += [f"c{keys['staleness']}"] if how.stale else []
    return " ".join([*words, *([f"m{keys['microbatches']}"] if how.microbatched else [])])


def parse(values: Mapping[str, Any]) -> RunConfig:
    """Check plain values (a resolved Hydra configuration) and return them as a :class:`RunConfig`.

    What means nothing to the method takes the value that does nothing, so that nobody behind has to ask.

    Raises:
        ConfigError: a key is missing, unknown, of the wrong type or out of range.
    """
    method = values.get("method")
    run = parse_as(RunConfig, {**values, "method": {NAME: method}} if isinstance(method, str) else values)
    if not run.method.stale:
        run = replace(run, staleness=0, weights="stashed", correction=NoCorrection())
    return run if run.method.microbatched else replace(run, microbatches=1)


def parse_recorded(values: Mapping[str, Any]) -> RunConfig:
    """Check a record's configuration as :func:`parse` does; it may be an older version's: what it lacks changed
    nothing.

    Raises:
        ConfigError: this version cannot read it.
    """
    lr = {"staleness_power": 0.0, "require_convergent": False, **values.get("lr", {})}
    run = {key: value for key, value in values.items() if key not in WITHOUT_RESULT}
    data = {"validation": 0.0, **values.get("data", {})}
    return parse(
        {
            "microbatches": 1,
            "flush_every": None,
            "correction": NoCorrection().values(),
            "clip": NoClip().values(),
            **run,
            "lr": lr,
            "data": data,
        }
    )
