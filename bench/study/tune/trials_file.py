"""Studies as one file: ``trials.jsonl``, a line a study with its trials, which git keeps beside their runs' records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from bench.keys import ConfigError
from bench.system.file import write_atomic

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

PASSING = ("heartbeat", "process")
"""What a trial says of the process that runs it."""


@dataclass(frozen=True)
class KeptStudy:
    """What is kept of a study."""

    study: str
    """Its name."""
    space: str
    """What :meth:`Space.fingerprint` said of its search space, as JSON."""
    epochs: int
    """Epochs of a trial that ends by itself."""
    trials: list[dict[str, Any]]
    """Its trials by number, as plain values."""


@dataclass(frozen=True)
class TrialsFile:
    """A file of studies."""

    path: Path

    def find(self, study: str) -> KeptStudy | None:
        """What is kept of a study; None where nothing is.

        Raises:
            ConfigError: a line is not a study.
        """
        return next((kept for kept in self._studies() if kept.study == study), None)

    def keep(self, kept: KeptStudy) -> None:
        """Add a study, or take the place of what was kept of it; whoever else adds one.

        Raises:
            WriteError: there is no room for it, or no right to write it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock"), fallback_to_soft=False):
            studies = {other.study: other for other in self._studies()} | {kept.study: kept}
            lines = [json.dumps(asdict(studies[name]), separators=(",", ":")) for name in sorted(studies)]
            write_atomic(self.path, "".join(f"{line}\n" for line in lines).encode())

    def _studies(self) -> list[KeptStudy]:
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        try:
            return [KeptStudy(**json.loads(line)) for line in lines]
        except (ValueError, TypeError) as error:
            raise ConfigError(f"records: {self.path} holds a line that is no study ({error})") from None


def as_values(trial: FrozenTrial) -> dict[str, Any]:
    """A trial as plain values; what it said of its process, and when it ran, is left out."""
    from optuna.distributions import distribution_to_json

    return {
        "state": trial.state.name,
        "values": trial.values,
        "params": trial.params,
        "distributions": {name: json.loads(distribution_to_json(one)) for name, one in trial.distributions.items()},
        "intermediate": [[step, value] for step, value in sorted(trial.intermediate_values.items())],
        "user": {key: value for key, value in trial.user_attrs.items() if key not in PASSING},
        "system": trial.system_attrs,
    }


def revived(trials: Sequence[dict[str, Any]]) -> list[FrozenTrial]:
    """Optuna's trials of plain ones; those that had not ended have failed."""
    from optuna.distributions import json_to_distribution
    from optuna.trial import TrialState, create_trial

    ended = {state.name: state for state in TrialState if state.is_finished()}
    return [
        create_trial(
            state=ended.get(trial["state"], TrialState.FAIL),
            values=trial["values"],
            params=trial["params"],
            distributions={key: json_to_distribution(json.dumps(one)) for key, one in trial["distributions"].items()},
            user_attrs=trial["user"],
            system_attrs=trial["system"],
            intermediate_values=dict(trial["intermediate"]),
        )
        for trial in trials
    ]
