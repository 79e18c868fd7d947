"""A study's trials, in a database that several processes share: each is given out once, whoever is killed.

A trial belongs to the process that claimed it, whose name it bears; the ranks never hear of Optuna. One whose process
is gone is marked failed and tried once more, as is one that failed by itself. A trial and its retry count as one.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench.keys import ConfigError
from bench.record.folder import flatten
from bench.record.metrics import on_the_way
from bench.study.tune.database import Database, quiet
from bench.study.tune.space import Space
from bench.study.tune.study import Study
from bench.study.tune.trials_file import KeptStudy, as_values, revived
from bench.system.heartbeat import TALKING, Heartbeat
from bench.system.process import heartbeat, is_alive, own_name
from bench.task.contract import Quality

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna import Trial
    from optuna.trial import FrozenTrial

STARTUP_TRIALS = 8
"""Trials drawn at random, before the sampler has something to go by."""
PRUNING_AFTER = 4
"""Trials that have to have ended before one is pruned."""
SEEDS_A_STUDY = 2**16


@dataclass(frozen=True)
class Claim:
    """A trial that this process is to run."""

    trial: Trial
    position: int
    """Its place among the trials asked for, from 1; a retry has that of the first try."""
    settings: dict[str, Any]
    """What :meth:`Space.suggest` returned for it."""


class Trials:
    """The trials of one study."""

    def __init__(self, study: Study) -> None:
        self._wanted = study
        self._database = Database(study.tuning.database)
        self._study: OptunaStudy
        self._space: Space
        self._running: dict[int, Trial] = {}
        """The trials that this process has claimed and not ended, by number."""
        self._heartbeat = Heartbeat(self._beat)

    def check(self) -> None:
        """Find out whether the database can be used, before anything is written.

        Raises:
            ConfigError: it cannot.
        """
        with self._database.working():
            self._database.try_it()

    def open(self, space: Space, at_once: int = 1) -> None:
        """Take up the study, or begin it.

        Args:
            at_once: how many trials this process has under way at most.

        Raises:
            ConfigError: the database cannot be used, or the study has another search space.
        """
        from optuna import create_study
        from optuna.pruners import MedianPruner
        from optuna.samplers import TPESampler

        with self._alone():
            self._study = create_study(
                storage=self._database.storage(),
                study_name=self._wanted.tuning.study,
                directions=self._directions,
                load_if_exists=True,
            )
            self._check_space(space.fingerprint())
            kept = self._kept()
            if kept and kept.space == self._study.user_attrs["space"] and not self.all():
                self._study.add_trials(revived(kept.trials))
                self._study.set_user_attr("sessions", len(kept.trials))
            session = int(self._study.user_attrs.get("sessions", 0))
            self._study.set_user_attr("sessions", session + 1)
            # A seed that has been used would suggest what it has suggested before.
            seed = self._wanted.run.seed * SEEDS_A_STUDY + session
            # Trials under way count as bad ones, or those drawn beside them would be drawn next to them.
            self._study.sampler = TPESampler(
                seed=seed % 2**32, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=at_once > 1
            )
            self._study.pruner = MedianPruner(n_startup_trials=PRUNING_AFTER, n_warmup_steps=space.epochs // 3)
        self._space = space

    def recall(self) -> int:
        """Take up what the file of studies has of the study, away from the database; return a trial's epochs.

        Raises:
            ConfigError: the file has nothing of it.
        """
        from optuna import create_study

        kept = self._kept()
        if kept is None:
            place = self._wanted.trials_file.path if self._wanted.trials_file else "no file (records=null)"
            raise ConfigError(f"tuning.study={self._wanted.tuning.study!r}: is kept in {place}; tune it first")
        with quiet():
            self._study = create_study(directions=self._directions)
            self._study.add_trials(revived(kept.trials))
        return kept.epochs

    def keep(self) -> None:
        """Put the study into the file of studies, where there is one.

        Raises:
            WriteError: there is no room for it, or no right to write it.
        """
        file, attributes = self._wanted.trials_file, self._study.user_attrs
        if file is not None:
            name, trials = self._wanted.tuning.study, list(map(as_values, self.all()))
            file.keep(KeptStudy(name, attributes["space"], self._space.epochs, trials))

    @property
    def quality(self) -> Quality:
        """What trials are judged by."""
        return self._wanted.quality

    def worth(self, epoch: Mapping[str, Any]) -> float:
        """What an epoch of a trial counts: its quality, or the worst there is where it has diverged."""
        found = on_the_way(epoch, self.quality)
        return self.quality.worst if found is None else found

    @property
    def _directions(self) -> list[Literal["maximize", "minimize"]]:
        return directions_of(self._wanted)

    def _kept(self) -> KeptStudy | None:
        """What the file of studies has of the study; None where there is none."""
        return self._wanted.trials_file.find(self._wanted.tuning.study) if self._wanted.trials_file else None

    def claim(self) -> Claim | None:
        """The next trial; None if all have been given out."""
        with self._alone():
            self._reap()
            if self._used() >= self._wanted.trials and not self._in("WAITING"):
                return None
            trial = self._study.ask()
            trial.set_user_attr("heartbeat", heartbeat())
            trial.set_user_attr("process", own_name())
            self._running[trial.number] = trial
            self._heartbeat.start()
            settings = trial.user_attrs.get("settings") or self._space.suggest(trial)
            trial.set_user_attr("settings", settings)
            trial.set_user_attr("run", self._wanted.run_of(settings).hash())
            roots = {other.number: _root(other) for other in self.all()}
            return Claim(trial, sorted(set(roots.values())).index(roots[trial.number]) + 1, settings)

    def is_over(self) -> bool:
        """Whether there are as many trials as asked for, and all have ended."""
        with self._alone():
            self._reap()
            return self._used() >= self._wanted.trials and not self._in("WAITING", "RUNNING")

    def report(self, claim: Claim, epoch: int, quality: float) -> bool:
        """Tell of a trial's epoch; return whether the trial is to be pruned."""
        with self._alone():
            claim.trial.report(quality, epoch)
            return bool(claim.trial.should_prune())

    def constrain(self, claim: Claim, name: str, excess: float) -> None:
        """Tell how far a trial is beyond a limit, 0 or less if it is not."""
        with self._alone():
            claim.trial.set_constraint(name, excess)

    def finish(self, claim: Claim, values: list[float]) -> None:
        """Give a trial its result, one number for each objective."""
        with self._alone():
            self._study.tell(claim.trial, values)
            self._running.pop(claim.trial.number, None)

    def prune(self, claim: Claim) -> None:
        """Note that a trial was ended early."""
        from optuna.trial import TrialState

        with self._alone():
            self._study.tell(claim.trial, state=TrialState.PRUNED)
            self._running.pop(claim.trial.number, None)

    def fail(self, claim: Claim) -> bool:
        """Note that a trial has failed, or was interrupted; return whether it is to be tried again."""
        with self._alone():
            before = len(self.all())
            self._fail(claim.trial.number)
            return len(self.all()) > before

    def all(self) -> list[FrozenTrial]:
        """Every trial so far, in the order of their numbers."""
        return list(self._study.get_trials(deepcopy=False))

    def counted(self) -> list[FrozenTrial]:
        """Every trial that no other one was made in the place of."""
        trials = self.all()
        retried = {number for trial in trials for number in trial.system_attrs.get("retry_history", [])}
        return [trial for trial in trials if trial.number not in retried]

    def best(self) -> FrozenTrial | None:
        """The finished trial of the best quality that keeps to its constraints; the first one of several."""
        fit = [trial for trial in self.all() if trial.state.name == "COMPLETE" and is_feasible(trial)]
        return max(fit, key=lambda trial: self._wanted.quality.gain(trial.values[0]), default=None)

    # --------------------------------------------------------------------------------------------- under the lock alone
    def _used(self) -> int:
        return len({_root(trial) for trial in self.all()})

    def _in(self, *states: str) -> list[FrozenTrial]:
        return [trial for trial in self.all() if trial.state.name in states]

    def _reap(self) -> None:
        for trial in self._in("RUNNING"):
            process, beat = (str(trial.user_attrs.get(key, "")) for key in ("process", "heartbeat"))
            if not is_alive(process, beat):
                self._fail(trial.number)

    def _beat(self) -> bool:
        """Tell the database that the trials of this process run; return whether there are any."""
        if not self._running:
            return False
        with contextlib.suppress(ConfigError), self._alone():
            for trial in self._running.values():
                trial.set_user_attr("heartbeat", heartbeat())
        return bool(self._running)

    def _fail(self, number: int) -> None:
        from optuna.storages import RetryHeartbeatStaleTrialCallback
        from optuna.trial import TrialState

        self._running.pop(number, None)
        failed = self._study.tell(number, state=TrialState.FAIL)
        RetryHeartbeatStaleTrialCallback(max_retry=1)(self._study, failed)

    def _check_space(self, here: dict[str, Any]) -> None:
        """Hold this command's search space against that of the trials that are there."""
        text = json.dumps(here)
        there = self._study.user_attrs.get("space")
        if there is None and not self._study.get_trials(deepcopy=False):
            self._study.set_user_attr("space", text)
        elif there != text:
            known = flatten(json.loads(there)) if there else {}
            own = flatten(json.loads(text))
            keys = [key for key in {**known, **own} if known.get(key) != own.get(key)]
            words = [f"{key}={known.get(key)} there, {own.get(key)} here" for key in keys[:3]]
            raise ConfigError(
                f"tuning.study={self._wanted.tuning.study!r}: {self._wanted.tuning.database} has a study of another "
                f"search space under this name ({'; '.join(words)}); allowed is another name"
            )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes of ours away meanwhile, and Optuna quiet. Raises as :meth:`Database.working`."""
        with TALKING, self._database.working(), self._database.alone():
            yield


def directions_of(study: Study) -> list[Literal["maximize", "minimize"]]:
    """Which way each objective of a study is better."""
    first: Literal["maximize", "minimize"] = "maximize" if study.quality.better == "up" else "minimize"
    return [first] if len(study.objectives) == 1 else [first, "minimize"]


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether a trial keeps to its constraints."""
    return all(excess <= 0 for excess in trial.constraints.values())


def _root(trial: FrozenTrial) -> int:
    """The number of a trial's first try."""
    return int(trial.system_attrs.get("failed_trial", trial.number))
