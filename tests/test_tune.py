"""``python -m bench tune``, as a user has it: studies that are continued, shared, killed, and used."""

from __future__ import annotations

import os
import shutil
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from bench.__main__ import main
from bench.config import RunConfig
from bench.record.folder import RunFolder, WithoutResult
from bench.study.sweep.compose import compose, single
from bench.study.sweep.library import RUN
from bench.study.tracking.contract import Tracker
from bench.study.tracking.none import NoTracking
from bench.study.tune.search import Judge
from bench.study.tune.space import space_of
from bench.study.tune.study import TUNE, study_of
from bench.study.tune.trials import Trials
from bench.system.call import Call
from bench.system.file import write_json_atomic
from tests.commands import BENCH, TINY, await_event, await_that, command, processes, read_json
from tests.designs import in_full

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("without_pictures")]
SMALL = (
    *(word for word in TINY if not word.startswith("tracking")),
    "model=mlp",
    "model.hidden=8",
    "model.layers=2",
    "tuning.study=small",
    "tuning.repeats=2",
)
"""A study whose trials take a fraction of a second each, on the oracle."""
SMALL = tuple(word for word in SMALL if not word.startswith(("model.depth", "model.width")))


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of configurations, which is not there yet, in the folder we are in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "conf"


def tune(folder: Path, *words: str) -> int:
    kept = (f"runs_dir={folder}/runs", "tracking=none", "engine=reference")
    return main(["tune", *SMALL, *kept, *words, "--results", str(folder / "results")])


def trials_of(folder: Path, *words: str) -> Trials:
    wanted = study_of(single([*SMALL, f"runs_dir={folder}/runs", "tracking=none", *words], TUNE))
    trials = Trials(wanted)
    trials.open(space_of(wanted, 1.0, 16 * wanted.run.epochs, 16))
    return trials


def test_a_study_from_its_trials_to_a_run_with_what_it_found(
    tmp_path: Path, conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Continued to a larger total, with its tables, its file for Hydra, and a trial that is found again by its hash."""
    assert tune(tmp_path, "trials=3") == 0
    assert tune(tmp_path, "trials=5") == 0
    out = capsys.readouterr()
    assert out.err.count("small 5/5: ") == 1
    trials = pandas.read_csv(tmp_path / "results/trials.csv")
    assert list(trials["trial"]) == [0, 1, 2, 3, 4]
    assert set(trials["state"]) <= {"complete", "pruned"}
    records = {path.parent.name for path in (tmp_path / "runs").glob("*/record.json")}
    assert set(trials["run"][trials["state"] == "complete"]) <= records
    study = pandas.read_csv(tmp_path / "results/studies.csv").to_dict("records")[0]
    best = trials[trials["state"] == "complete"].sort_values(["accuracy", "trial"], ascending=[False, True]).iloc[0]
    assert (study["trials"], study["epochs"], study["n"]) == (5, 2, 2)
    assert (study["best_trial"], study["run"]) == (best["trial"], best["run"])
    assert study["shape"] == "convergent"
    assert study["margin"] > 0
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "report.html",
        "small.png",
        "studies.csv",
        "trials.csv",
    }
    file = conf / "lr/tuned/small.yaml"
    head = [line for line in file.read_text().splitlines() if line.startswith("#")]
    assert head[0] == "# @package _global_"
    assert head[1] == "# python -m bench stages=2 replicas=1 staleness=2 lr=tuned/small"
    assert head[3].startswith("# study: small, 5 trials (")
    assert head[4].startswith(f"# trial: number {best['trial']}, run {best['run']}, test accuracy ")
    assert head[5].startswith("# shape: convergent; covered: ")
    run = [word for word in SMALL if not word.startswith(("lr", "tuning"))]
    found = compose([*run, "engine=reference", "lr=tuned/small"], RUN.beside(None))
    assert found.hash() == best["run"]
    assert main([*run, "engine=reference", "lr=tuned/small", "tracking=none", f"runs_dir={tmp_path}/runs"]) == 0
    assert f"has a record in {tmp_path}/runs/{best['run']}, skipped" in capsys.readouterr().err
    changed = compose([*run, "lr=tuned/small", "optimizer.momentum=0.3"], RUN.beside(None))
    assert changed.resolved()["optimizer"]["momentum"] == 0.3
    repeats = [tmp_path / "runs" / name / "record.json" for name in study["repeats"].split()]
    write_json_atomic(repeats[0], {**read_json(repeats[0]), "status": "diverged"})
    assert tune(tmp_path, "trials=5") == 0
    assert "\n\nsmall: 1 of 2 repeats diverged, without a quality\n" in capsys.readouterr().out
    study = pandas.read_csv(tmp_path / "results/studies.csv").to_dict("records")[0]
    assert (study["n"], study["accuracy"]) == (1, read_json(repeats[1])["metrics"]["accuracy/test"])


def test_what_was_found_is_written_to_the_folder_that_is_named(tmp_path: Path, conf: Path) -> None:
    """Nothing is made in the folder we are in; a run with what was found names the folder too, as the file says."""
    (tmp_path / "mine").mkdir()
    assert tune(tmp_path, "trials=1", "tuning.repeats=0", "--config-dir", "mine") == 0
    assert not conf.exists()
    head = (tmp_path / "mine/lr/tuned/small.yaml").read_text().splitlines()
    assert head[1] == "# python -m bench --config-dir mine stages=2 replicas=1 staleness=2 lr=tuned/small"
    words = head[1].removeprefix("# python -m bench ").split()
    assert main(["rates", *words]) == 0
    assert main(["rates", *words[2:]]) == 2


def test_studies_of_several_methods_have_equal_budgets(
    tmp_path: Path,
    conf: Path,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ("-m", "staleness=0,2", "tuning.conditions=bound,none", "trials=2", "tuning.pruning=false")
    assert tune(tmp_path, *words, "tuning.study=c${staleness}-${tuning.conditions}") == 0
    table = pandas.read_csv(tmp_path / "results/studies.csv")
    assert list(table["study"]) == ["c0-bound", "c0-none", "c2-bound", "c2-none"]
    for key, value in {"trials": 2, "epochs": 2, "epochs_trained": 4, "n": 2}.items():
        assert set(table[key]) == {value}
    assert [not missing for missing in table["over_locked"].isna()] == [False, False, True, True]
    assert [not missing for missing in table["over_unrestricted"].isna()] == [True, False, True, False]
    accuracy = dict(zip(table["study"], table["accuracy"], strict=True))
    assert [not missing for missing in table["over_locked_said"].isna()] == [False, False, True, True]
    assert set(table["over_unrestricted_said"].dropna()) <= {"better", "worse", "no worse", "undecided"}
    assert table["over_locked"][2] == pytest.approx(accuracy["c2-bound"] - accuracy["c0-bound"], rel=0, abs=1e-12)
    printed = capsys.readouterr().out
    assert "| study    | trials | pruned | epochs trained | best family" in printed


def test_two_objectives_have_a_front(tmp_path: Path, conf: Path) -> None:  # noqa: ARG001
    """A trial that misses the target is charged its whole time, and is not the best."""
    assert tune(tmp_path, "trials=3", "tuning.objectives=[quality,time]", "tuning.target=0.1") == 0
    trials = pandas.read_csv(tmp_path / "results/trials.csv")
    assert list(trials["state"]) == ["complete"] * 3
    for row in trials.to_dict("records"):
        record = read_json(tmp_path / "runs" / row["run"] / "record.json")
        reached = [epoch for epoch in record["epochs"] if epoch["accuracy/test"] >= 0.1]
        assert row["time"] == (reached or record["epochs"][-1:])[0]["time/train_seconds"]
        assert row["feasible"] == bool(reached)


def test_a_cap_as_a_constraint_is_recorded(tmp_path: Path, conf: Path) -> None:
    assert tune(tmp_path, "trials=2", "tuning.conditions=constraint", "tuning.gamma0=[100,200]") == 0
    trials = pandas.read_csv(tmp_path / "results/trials.csv")
    assert not trials["feasible"].any()
    study = pandas.read_csv(tmp_path / "results/studies.csv").to_dict("records")[0]
    assert study["n"] == 0
    assert not list((conf / "lr/tuned").glob("*"))


def test_whether_a_trial_is_pruned_does_not_hang_on_who_looks_first(tmp_path: Path) -> None:
    """A run that has ended before anyone looked at its epochs is judged by its record."""
    trials = trials_of(tmp_path, "epochs=6", "trials=9")
    for _ in range(5):
        claim = trials.claim()
        assert claim is not None
        Judge(trials, claim, _nothing(tmp_path), 6).judge(_epochs(0.9))
        trials.finish(claim, [0.9])
    claim = trials.claim()
    assert claim is not None
    with pytest.raises(RuntimeError, match=r"^pruned after epoch 3 of 6: accuracy 80\.0% is worse than the median"):
        Judge(trials, claim, _nothing(tmp_path), 6).judge(_epochs(0.8))


def _nothing(folder: Path) -> Any:
    return RunFolder(folder / "nothing")


def _epochs(accuracy: float) -> list[dict[str, Any]]:
    return [{"epoch": number, "accuracy/test": accuracy} for number in range(6)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tuning.p=[0,1]",), "tuning.p=[0.0, 1.0]: must be two numbers above 0, the smaller one first"),
        (("-m", "staleness=0,2"), "tuning.study='small': 2 points of the sweep; allowed is a name for each"),
        (("lr=tuned/none",), "lr='tuned/none': allowed are tuned/digits-K2-c0-bound, tuned/"),
        (("tuning.database=/proc/x/studies.db",), "tuning.database='/proc/x/studies.db': allowed is an SQLite file"),
        (("--results", "/proc/x"), "--results='/proc/x': must be a folder that can be written"),
    ],
)
def test_what_is_wrong_is_one_message(
    tmp_path: Path,
    conf: Path,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    assert main(["tune", *SMALL, f"runs_dir={tmp_path}/runs", "tracking=none", "trials=1", *words]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert error[0].startswith(f"bench: {message}")
    assert not list(tmp_path.glob("runs/*/record.json"))


def test_a_dry_run_tells_what_would_be_searched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(tmp_path, "dry_run=true", "trials=30") == 0
    line = capsys.readouterr().out
    assert line.startswith(
        "small: 30 trials and 2 repeats of 2 epochs among polynomial, inverse_time, plateau_polynomial"
    )
    assert not (tmp_path / "runs").exists()


class Recorder(Tracker):
    """A tracker that notes how many trials are under way whenever one begins."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.counts: list[int] = []

    def start(self, config: RunConfig, folder: RunFolder) -> None:  # noqa: ARG002
        self.running.add(config.hash())
        self.counts.append(len(self.running))

    def deliver(self, folder: RunFolder) -> bool:
        self.running.remove(folder.path.name)
        return True


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_trials_go_side_by_side(
    tmp_path: Path,
    conf: Path,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each is told as it ends, and another begins in its place."""
    recorder = Recorder()
    monkeypatch.setattr(NoTracking, "tracker", lambda _: recorder)
    assert tune(tmp_path, "trials=5", "launcher.parallel=2", "tuning.pruning=false") == 0
    assert recorder.counts[:2] == [1, 2]
    assert max(recorder.counts) == 2
    trials = trials_of(tmp_path, "engine=reference", "tuning.pruning=false").all()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 5
    drawn = [trial.user_attrs["run"] for trial in trials]
    assert {path.parent.name for path in tmp_path.glob("runs/*/record.json")} > set(drawn)
    records = [read_json(tmp_path / "runs" / run / "record.json") for run in drawn]
    assert all(record["environment"]["colocated"] for record in records)


def test_where_seconds_are_searched_for_trials_go_one_by_one(
    tmp_path: Path,
    conf: Path,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(NoTracking, "tracker", lambda _: recorder)
    words = ("trials=2", "tuning.repeats=0", "launcher.parallel=2", "tuning.objectives=[quality,time]")
    assert tune(tmp_path, *words, "tuning.target=0.01") == 0
    assert recorder.counts == [1, 1]
    assert capsys.readouterr().err.count("bench: these runs are measured: each has its machine to itself\n") == 1


@pytest.mark.full
def test_trials_are_jobs_of_a_cluster(tmp_path: Path, conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """submitit's local executor stands for SLURM; nobody watches them, and they are judged when they have ended."""
    monkeypatch.setattr("bench.study.launcher.submitit.POLL_SECONDS", 0.1)
    (tmp_path / "runs").mkdir()
    assert tune(tmp_path, "trials=2", "launcher=submitit", "launcher.cluster=local", "tuning.repeats=1") == 0
    assert [trial.state.name for trial in trials_of(tmp_path, "engine=reference").all()] == ["COMPLETE"] * 2
    assert len(list(tmp_path.glob("runs/*/record.json"))) == 3


# --------------------------------------------------------------------------------------------- as processes, with ranks
@pytest.mark.full
def test_an_interrupted_study_of_trials_side_by_side_goes_on(tmp_path: Path) -> None:
    """Both trials under way are tried once more, and count once."""
    words = tuned("engine=reference", "tuning.pruning=false", "trials=3", "launcher.parallel=2", "tuning.repeats=0")
    with command([*words, "epochs=20000"], tmp_path) as first:
        await_that(lambda: len(first.ranks()) == 2, lambda: first.stderr)
        await_event(first, "runs/*/events.jsonl")
        os.killpg(first.process.pid, signal.SIGINT)
        assert first.wait() == 130, first.stderr
        first.assert_gone()
    trials = trials_of(tmp_path, "epochs=20000", "engine=reference", "tuning.pruning=false").all()
    assert [trial.state.name for trial in trials] == ["FAIL", "FAIL", "WAITING", "WAITING"]


TRACKED = ("tracking=mlflow", "tracking.uri=sqlite:///mlflow.db", "runs_dir=runs", "trials=4", "epochs=8")


def tuned(*words: str) -> list[str]:
    return [*BENCH, "tune", *SMALL, *TRACKED, *words]


@pytest.mark.full
def test_a_study_that_was_killed_goes_on(tmp_path: Path) -> None:
    """It is killed in its first second and while agents train; the same command ends with two trials, none lost."""
    words = tuned("epochs=60", "tuning.pruning=false", "trials=2", "tuning.repeats=1")
    with command(words, tmp_path) as first:
        time.sleep(1.0)
        first.process.send_signal(signal.SIGKILL)
        first.assert_gone()
    with command(words, tmp_path) as second:
        left = await_event(second, "runs/*/events.jsonl").name
        second.process.send_signal(signal.SIGKILL)
        second.assert_gone()
    with command(words, tmp_path) as third:
        assert third.wait() == 0, third.stderr
    trials = trials_of(tmp_path, "epochs=60", "tuning.pruning=false").all()
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    runs = [str(trial.user_attrs["run"]) for trial in trials]
    assert runs[0] == runs[1] == left != runs[2]
    _assert_tracked(tmp_path, "small", [*runs[1:], *_repeats(tmp_path)])


def _repeats(tmp_path: Path) -> list[str]:
    return str(pandas.read_csv(tmp_path / "results/studies/studies.csv")["repeats"][0]).split()


def _assert_tracked(tmp_path: Path, study: str, runs: list[str]) -> None:
    """Check that the study's run has a child for each of these runs, and that all have finished."""
    from mlflow.tracking import MlflowClient

    with warnings.catch_warnings():
        # MLflow's store uses what SQLAlchemy deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
        experiment = client.get_experiment_by_name("staleness-bench")
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id])
        parents = [run for run in found if run.data.tags.get("study") == study]
        assert len(parents) == 1
        children = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
        files = {file.path for file in client.list_artifacts(parents[0].info.run_id)}
    assert Counter(run.data.tags["config_hash"] for run in children) == Counter(runs)
    assert {run.info.status for run in [parents[0], *children]} == {"FINISHED"}
    assert files == {"table.md", f"{study}.png"}


@pytest.mark.full
def test_processes_share_a_study(tmp_path: Path) -> None:
    """Each trial is run by one of them, and the last one to end tells MLflow."""
    words = tuned("tuning.pruning=false", "epochs=2", "tuning.repeats=1")
    with command(words, tmp_path) as first, command(words, tmp_path) as second:
        codes = [running.wait() for running in (first, second)]
        assert codes == [0, 0], first.stderr + second.stderr
        said = [
            sum("small " in line and ": test accuracy" in line for line in one.stderr.splitlines())
            for one in (first, second)
        ]
    trials = trials_of(tmp_path, "tuning.pruning=false", "epochs=2").all()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    assert sum(said) == 4
    runs = [str(trial.user_attrs["run"]) for trial in trials]
    assert len(set(runs)) == 4
    _assert_tracked(tmp_path, "small", [*runs, *_repeats(tmp_path)])


HOPELESS = ("epochs=60", "trials=5", "tuning.repeats=0", "data.train_size=256")


@pytest.fixture
def ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes of the agents, as they are started, of a study whose other trials were perfect."""
    trials = trials_of(tmp_path, *HOPELESS)
    for _ in range(4):
        claim = trials.claim()
        assert claim is not None
        for epoch in range(22):
            trials.report(claim, epoch, 1.0)
        trials.finish(claim, [1.0])
    started: list[int] = []

    class Noted(Call):
        def __init__(self, function: Callable[..., Any], *arguments: Any, **settings: Any) -> None:
            super().__init__(function, *arguments, **settings)
            assert self._process.pid is not None
            started.append(self._process.pid)

    monkeypatch.setattr("bench.study.launcher.agents.Call", Noted)
    return started


@pytest.mark.parametrize("parallel", ["1", *in_full("auto")])
def test_a_pruned_trial_ends_its_ranks(
    parallel: str,
    ranks: list[int],
    no_runs: Path,
    tmp_path: Path,
    conf: Path,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Synthetic labels cannot be learned: after a third of its epochs it is behind."""
    alive: list[set[int]] = []

    def write(folder: RunFolder, message: str, status: WithoutResult) -> None:
        alive.append(set(ranks) & set(processes()))
        write_failure(folder, message, status)

    shutil.copy(no_runs, tmp_path)
    write_failure = RunFolder.write_failure
    monkeypatch.setattr(RunFolder, "write_failure", write)
    # MLflow keeps the database of an address to this process's end: a relative one would be another test's, too.
    words = [*HOPELESS, f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", f"launcher.parallel={parallel}"]
    assert main(["tune", *SMALL, *TRACKED, *words]) == 0
    assert (len(ranks), alive) == (2, [set()])
    (path,) = tmp_path.glob("runs/*/failure.json")
    failure = read_json(path)
    assert failure["status"] == "pruned"
    assert failure["message"].startswith("pruned after epoch 21 of 60: accuracy ")
    assert 21 <= (path.parent / "events.jsonl").read_text().count('"event": "epoch"') < 60
    assert not (path.parent / "record.json").exists()
    table = pandas.read_csv(tmp_path / "results/studies/trials.csv")
    assert list(table["state"]) == ["complete"] * 4 + ["pruned"]
