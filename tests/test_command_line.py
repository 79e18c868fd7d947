"""What a user types, what it answers, and what it leaves (design 3 and 4)."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import io
import json
import math
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from bench.__main__ import examples, main, parser_of, verb_names
from bench.choice import Choice, choices
from bench.keys import ConfigError
from bench.plan.clock import Clock
from bench.study import verbs
from bench.study.launcher.check import check
from bench.study.sweep.compose import compose
from bench.study.sweep.settings import contracts
from tests.commands import BENCH, ROOT, TINY, TORCHRUN, allowed, await_that, read_json, said

CIFAR_FETCH = "fetch it: python -m bench download data=cifar10 data.folder=nowhere"

WRONG = {
    "stages=0": "stages=0: must be greater than or equal to 1",
    "replicas=-1": "replicas=-1: must be greater than or equal to 1",
    "staleness=1.5": "staleness=1.5: must be a valid integer",
    "stages=": "stages='': must be a valid integer",
    "epochs=null": "epochs=None: must be a valid integer",
    "seed=99999999999999999999": "seed=99999999999999999999: must be less than 9223372036854775808",
    "lr.gamma0=nan": "lr.gamma0=nan: must be a finite number",
    "lr.gamma0=-inf": "lr.gamma0=-inf: must be a finite number",
    "~partition": "partition: a value is missing",
    "+extra=1": "extra=1: there is no such key",
    "model.width=1e3": "model.width=1000.0: must be a valid integer",
    "optimizer.nesterov=true optimizer.momentum=0": "optimizer.nesterov=True needs momentum above 0, not momentum=0",
    "lr=multistep lr.milestones=[5,3]": "lr.milestones=[5, 3] must increase",
    "weights=latest precision=bfloat16": "weights=latest needs precision=float32 or float64",
    "backend=nccl": "backend=nccl needs device=cuda, not device=cpu",
    "method=adaptive": f"method='adaptive': allowed are {allowed('method')}",
    # What Hydra would refuse, in words of the suite.
    "model=nonet": f"model='nonet': allowed are {allowed('model')}",
    "data=mnist": f"data='mnist': allowed are {allowed('data')}",
    "optimizer=adam": f"optimizer='adam': allowed are {allowed('optimizer')}",
    "lr=sawtooth": f"lr='sawtooth': allowed are {allowed('lr')}",
    "averaging=mean": "averaging='mean': allowed are allreduce, gossip",
    "tracking=wandb": "tracking='wandb': allowed are mlflow, none",
    "+experiment=nope": "experiment='nope': allowed are accuracy, cifar10, cifar10_throughput, clipping, grid,",
    "experiment=grid": "experiment: there is no such key; did you mean +experiment? allowed are alone, averaging,",
    "contender=fdg": "contender: there is no such key; did you mean +contender? allowed are alone, averaging,",
    "+contender=pipedream": "contender='pipedream': allowed are 1f1b, ddp, fdg, gpipe, interleaved_1f1b, locked",
    "stalenes=1": "stalenes: there is no such key; did you mean staleness? allowed are alone, averaging,",
    "model.depht=9": "model.depht: there is no such key; did you mean model.depth? allowed are depth, name, rates",
    "stages=1,2": "stages=1,2: several values are a sweep, which needs -m; a list is written [a,b]",
    "+experiment=grid": "stages=1,2: the experiment is a sweep, which needs -m",
    "stages=[1": "stages=[1: a bracket is not closed, or a value is missing; as text, the value needs quotes: ",
    "tarin": "tarin: is no verb, and no override in Hydra's grammar; allowed are key=value",
    "--multi-run": "unrecognized arguments: --multi-run; python -m bench --help shows what is allowed",
    "tnue": "tnue: there is no such verb; did you mean tune? allowed are run, ",
    "-m tune": "tune: a verb comes first; allowed is python -m bench tune [key=value ...]",
    "-m stages=2,0": "stages=0: must be greater than or equal to 1",
    # What only this machine and its data can tell.
    "stages=15": "stages=15: may be at most 14, the layers of model=resnet",
    "stages=8 method=zero_bubble": "stages=8: may be at most 7, half the layers of model=resnet: method=zero_bubble",
    "partition=[15]": "partition=[15] must lie in 1..13: the network has 14 layers",
    "batch_size=65": "batch_size=65: may be at most 64; the data has 64 training images for replicas=1",
    "batch_size=64 replicas=2": "batch_size=64: may be at most 32; the data has 64 training images for replicas=2",
    "-m batch_size=4,65": "batch_size=65: may be at most 64",
    "device=cuda": "device='cuda': there is no GPU here; allowed is cpu",
    "runs_dir=/proc/runs": "runs_dir='/proc/runs': must be a folder that can be written (No such file or directory)",
    "runs_dir=a_file": "runs_dir='a_file': must be a folder that can be written (File exists)",
}
DATA = {
    "data=cifar10 data.folder=nowhere": f"data.folder='nowhere': holds no cifar-10-batches-py/; {CIFAR_FETCH}",
    "data=cifar10 data.folder=corrupt": "data.folder='corrupt': its cifar10 is damaged; delete it and fetch it",
    "data=imagefolder data.folder=nowhere": "data.folder='nowhere': there is no such folder; make it, it must hold",
    "data=imagefolder data.folder=empty": "data.folder='empty': has no train/; it must hold train/<class>/",
    "data=imagefolder data.folder=images": "data.folder='images': test/cat/1.png is not a readable image",
}


def _refused(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a wrong configuration gets."""
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("bench: ")
    return said.err.removeprefix("bench: ").rstrip("\n")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize(("typed", "message"), WRONG.items())
def test_a_wrong_configuration_is_told_in_one_line(
    typed: str, message: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``tracking=mlflow``: nothing is written there either."""
    if typed == "device=cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    (elsewhere / "a_file").touch()
    tracked = ["tracking=mlflow"] if "tracking" not in typed else []
    assert _refused([*TINY, *tracked, *typed.split()], capsys).startswith(message)
    assert [path.name for path in elsewhere.iterdir()] == ["a_file"]


def _make_data() -> None:
    from PIL import Image

    Path("empty").mkdir()
    for image in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png"):
        Path("images", image).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(Path("images", image))
    Path("images/test/cat/1.png").write_bytes(b"\x89PNG and no more")
    Path("corrupt/cifar-10-batches-py").mkdir(parents=True)
    Path("corrupt/cifar-10-batches-py/data_batch_1").write_bytes(b"not a pickle")


@pytest.mark.parametrize(("typed", "message"), DATA.items())
def test_missing_and_damaged_data_is_told_in_one_line(
    typed: str, message: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _make_data()
    before = sorted(elsewhere.rglob("*"))
    assert _refused(["tracking=none", *typed.split()], capsys).startswith(message)
    assert sorted(elsewhere.rglob("*")) == before


def _help(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The lines of a help."""
    with pytest.raises(SystemExit) as end:
        main([*words, "--help"])
    assert end.value.code == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("contract", contracts())
def test_the_help_says_what_choices_say_of_themselves(
    contract: type[Choice], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = _help(capsys)
    for name, kind in choices(contract).items():
        assert kind.__doc__ is not None
        (line,) = [line for line in lines if line.startswith(f"  {contract.group}={name} ")]
        assert line.split()[1:4] == kind.__doc__.replace("``", "").split()[:3]


def test_the_help_has_a_line_of_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """The verbs are the files of their folder, and the line is the first of the file's docstring."""
    lines = _help(capsys)
    start = lines.index("verbs (run, where none is typed; python -m bench VERB --help teaches one):")
    told = dict(line.split(maxsplit=1) for line in lines[start + 1 : lines.index("", start)])
    files = {file.stem: file.read_text() for file in Path(verbs.__path__[0]).glob("[!_]*.py")}
    assert told == {verb: text.removeprefix('"""').partition("\n")[0].replace("``", "") for verb, text in files.items()}
    assert [*told] == verb_names() == ["run", *sorted(files.keys() - {"run"})]


@pytest.mark.parametrize("verb", verb_names())
def test_the_help_of_a_verb_teaches_that_verb(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"{verbs.__name__}.{verb}")
    lines = _help(capsys, verb)
    assert lines[0].startswith(f"usage: python -m bench {verb} [-h] ")
    assert str(module.__doc__).partition("\n")[0].replace("``", "") in lines
    assert any(line.startswith("  -m, --multirun") for line in lines) == hasattr(module, "MULTIRUN")
    assert {"--results", "--rates", "--cfg"} & {*" ".join(lines).split()} == OWN_OPTIONS.get(verb, set())
    assert examples(verb)
    for example in examples(verb):
        assert f"    {example}" in lines
        command = example.partition("   ")[0].split("-m bench", 1)[1]
        words = [word.replace("<study>", "study") for word in shlex.split(command)]
        assert (words[0] if words and words[0] in verb_names() else "run") == verb
        assert parser_of(verb).parse_intermixed_args(words[verb != "run" :])


OWN_OPTIONS = {
    "run": {"--cfg"},
    "tune": {"--results"},
    "predict": {"--results"},
    "report": {"--results"},
    "network": {"--rates"},
}
"""Some options, by the only verbs that take them."""


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("verb", ["benchmark", "data", "download", "gpu", "network", "sync"])
def test_a_verb_of_one_configuration_takes_no_sweep(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = _refused([verb, "-m", "seed=0,1"], capsys)
    assert said.startswith(f"--multirun: {verb} takes one configuration; allowed is ")
    assert not [*Path().iterdir()]


def test_nccl_wants_a_gpu_for_every_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ConfigError, match="backend='nccl': 2 agents need as many GPUs, and there are 1; allowed are"):
        check(compose([*TINY, "device=cuda", "backend=nccl", "stages=2"]))


def test_a_wrong_tracking_address_leaves_no_run(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = _refused([*TINY, "engine=reference", "tracking=mlflow", "tracking.uri=nowhere://x"], capsys)
    assert said.startswith("tracking.uri='nowhere://x': allowed are sqlite:///<file>, the address of a running MLflow")
    assert not list(elsewhere.rglob("*"))


@pytest.mark.usefixtures("elsewhere")
def test_torchrun_starts_one_run_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    said = _refused(["-m", *TINY, "seed=0,1"], capsys)
    assert said == "--multirun: 2 points; torchrun starts the agents of exactly one run"


@pytest.mark.parametrize(("words", "code"), [(["stages=0"], 2), (["--help"], 0)], ids=str)
def test_the_process_has_the_exit_code(words: list[str], code: int, tmp_path: Path) -> None:
    answer = subprocess.run(
        [*BENCH, *words],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": str(Path(sys.executable).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == code
    assert (answer.stderr.count("\n"), "examples:" in answer.stdout) == ((1, False) if code else (0, True))
    assert not list(tmp_path.iterdir())


class Ran(NamedTuple):
    """What a run has said and left."""

    code: int
    out: str
    err: str
    runs_dir: Path

    @property
    def folders(self) -> list[Path]:
        return sorted(path.parent for path in self.runs_dir.glob("*/record.json"))


def _run(runs_dir: Path, *words: str) -> Ran:
    return Ran(*said(ROOT, *TINY, f"runs_dir={runs_dir}", *words), runs_dir)


GRID = ("stages=2", "replicas=2", "staleness=2", "data.train_size=1024")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Four agents, two epochs of 128 batches: what an agent waits for at the end of an epoch is little of it."""
    return _run(tmp_path_factory.mktemp("runs"), *GRID)


@pytest.fixture
def folder(ran: Ran, tmp_path: Path) -> Path:
    """A copy of that run's folder, to do things to."""
    return Path(shutil.copytree(ran.folders[0], tmp_path / ran.folders[0].name))


@pytest.fixture(scope="module")
def record(ran: Ran) -> dict[str, Any]:
    return dict(read_json(ran.folders[0] / "record.json"))


def test_a_run_ends_with_a_table_and_says_where_to_look(ran: Ran) -> None:
    assert ran.code == 0, ran.err
    name = ran.folders[0].name
    lines = ran.err.splitlines()
    assert [line.partition(" · loss")[0] for line in lines] == [
        f"run 1/1 K2 S2 c2 {name} · epoch {epoch}/2" for epoch in (1, 2)
    ]
    assert "|   2 |   2 |         2 | decoupled |" in ran.out
    assert f"records and timelines: {ran.runs_dir}/<hash>/" in ran.out


def test_a_run_leaves_its_folder(ran: Ran) -> None:
    names = {path.name for path in ran.folders[0].iterdir()}
    files = {"events.jsonl", "record.json", "timeline.json", "timeline.png", "model.pt"}
    assert names - {"lock"} == files


def test_a_record_has_the_keys_of_the_contract(record: dict[str, Any], ran: Ran) -> None:
    times = {"started", "finished"}
    keys = {"schema", "status", "config", "config_hash", "environment", "partition", "metrics", "epochs", "agents"}
    assert set(record) == keys | times | {"data", "rates", "resumed", "task"}
    assert (record["data"]["name"], record["data"]["train_images"], record["data"]["classes"]) == ("synthetic", 1024, 3)
    assert record["status"] == "done"
    assert record["config_hash"] == ran.folders[0].name
    assert (record["config"]["stages"], record["config"]["model"]["depth"]) == (2, 8)
    machine = {"git_commit", "git_dirty", "python", "torch", "torchvision", "mlflow", "host", "cpu", "cores", "gpu"}
    assert set(record["environment"]) == machine | {"oversubscribed", "engine_version"}
    assert [(part["first_layer"], part["last_layer"]) for part in record["partition"]] == [(0, 6), (7, 13)]


def test_a_record_has_the_public_metrics(record: dict[str, Any]) -> None:
    metrics = record["metrics"]
    public = {
        "accuracy/test",
        "loss/test",
        "loss/train",
        "throughput/images_per_second",
        "throughput/units_per_second",
        "throughput/efficiency",
        "locking/total_fraction",
        "locking/forward_fraction",
        "locking/backward_fraction",
        "locking/update_fraction",
        "staleness/max_updates",
        "memory/peak_bytes",
        "time/train_seconds",
    }
    assert public <= set(metrics)
    assert all(isinstance(metrics[name], float) and math.isfinite(metrics[name]) for name in metrics)
    locks = sum(metrics[f"locking/{lock}_fraction"] for lock in ("forward", "backward", "update"))
    assert metrics["locking/total_fraction"] == pytest.approx(locks)
    assert metrics["staleness/max_updates"] == 2.0
    assert metrics["throughput/images_per_second"] == pytest.approx(2 * 1024 / metrics["time/train_seconds"])


def test_an_agents_seconds_add_up_to_its_wall_time(record: dict[str, Any]) -> None:
    places = [(agent["rank"], agent["replica"], agent["stage"]) for agent in record["agents"]]
    assert places == [(0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1)]
    for agent in record["agents"]:
        assert sum(agent["seconds"].values()) == pytest.approx(agent["wall_seconds"], rel=1e-9)
    # An epoch takes as long as its slowest agent does; which one that is may change from one to the other of the two.
    slowest = max(agent["wall_seconds"] for agent in record["agents"])
    assert (1 - 1e-9) * slowest <= record["metrics"]["time/train_seconds"] <= 2 * slowest


def test_an_agents_staleness_is_the_clocks(record: dict[str, Any]) -> None:
    clock = Clock(stages=2, staleness=2, batches=128)
    for agent in record["agents"]:
        expected: Counter[str] = Counter()
        for _ in range(2):
            expected.update({str(updates): batches for updates, batches in clock.histogram(agent["stage"]).items()})
        assert agent["staleness"] == expected
    assert record["agents"][0]["staleness"] == {"0": 2, "1": 2, "2": 252}


def test_an_agents_memory_is_told_and_predicted(record: dict[str, Any]) -> None:
    assert [agent["weight_versions"] for agent in record["agents"]] == [3, 1, 3, 1]
    for agent in record["agents"]:
        assert agent["predicted_peak_memory_bytes"] == pytest.approx(agent["peak_memory_bytes"], rel=0.1)


def test_a_timeline_is_a_chrome_trace(ran: Ran) -> None:
    trace = read_json(ran.folders[0] / "timeline.json")
    events = trace["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert {event["ph"] for event in events} == {"M", "X"}
    assert {(span["pid"], span["tid"]) for span in spans} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert min(span["ts"] for span in spans) == 0
    assert all(span["dur"] >= 0 for span in spans)
    assert {"forward", "backward", "update"} <= {span["name"] for span in spans}
    for agent in {(span["pid"], span["tid"]) for span in spans}:
        own = [span for span in spans if (span["pid"], span["tid"]) == agent]
        ends = [span["ts"] + span["dur"] for span in own]
        assert all(later["ts"] >= end - 0.01 for end, later in zip(ends, own[1:], strict=False))


def test_a_second_invocation_finds_the_record(ran: Ran, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    again = _run(folder.parent, *GRID)
    assert again.code == 0
    expected = f"run 1/1 K2 S2 c2 {folder.name}: has a record in {folder}, skipped; force=true runs it again\n"
    assert again.err == expected
    assert again.out.splitlines()[:3] == ran.out.splitlines()[:3]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_picture_that_a_killed_command_has_not_drawn_is_drawn_by_the_next(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "timeline.png").unlink()
    assert _run(folder.parent, *GRID).code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_force_runs_it_again(record: dict[str, Any], folder: Path) -> None:
    (folder / "failure.json").write_text("{}")
    again = _run(folder.parent, *GRID, "force=true")
    assert again.code == 0, again.err
    anew = read_json(folder / "record.json")
    assert anew["metrics"]["loss/train"] == record["metrics"]["loss/train"]
    assert anew["metrics"]["time/train_seconds"] != record["metrics"]["time/train_seconds"]
    assert not (folder / "failure.json").exists()
    assert (folder / "events.jsonl").read_text().count('"started"') == 1


def test_a_run_that_another_process_is_at_is_waited_for(folder: Path) -> None:
    """A file that is opened once more has locks of its own, as if by another process."""
    record = (folder / "record.json").read_bytes()
    (folder / "record.json").unlink()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    title = f"run 1/1 K2 S2 c2 {folder.name}"
    waiting = f"{title}: another process is running it, in {folder}; waiting for it at the end\n"
    found = f"{title}: has a record in {folder}, skipped; force=true runs it again\n"
    err = io.StringIO()

    def finish() -> None:
        try:
            await_that(lambda: err.getvalue() == waiting, err.getvalue)
            (folder / "record.json").write_bytes(record)
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)

    with (folder / "lock").open() as file, ThreadPoolExecutor() as threads, contextlib.redirect_stderr(err):
        fcntl.flock(file, fcntl.LOCK_EX)
        other = threads.submit(finish)
        assert main([*TINY, f"runs_dir={folder.parent}", *GRID]) == 0
        other.result()
    assert err.getvalue() == waiting + found
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {**before, "record.json": record}


def test_a_diverged_run_is_a_result(tmp_path: Path) -> None:
    ran = _run(tmp_path, "engine=reference", "lr.gamma0=1e6")
    assert ran.code == 0, ran.err
    record = read_json(ran.folders[0] / "record.json")
    assert record["status"] == "diverged"
    assert record["metrics"]["loss/train"] > record["config"]["loss_limit"]
    assert "| diverged |" in ran.out


def test_equivalent_points_run_once(tmp_path: Path) -> None:
    ran = _run(tmp_path, "-m", "engine=reference", "stages=1", "staleness=0,1,2", "weights=stashed,latest")
    assert ran.code == 0, ran.err
    assert len(ran.folders) == 1
    assert [line[:16] for line in ran.err.splitlines()] == ["run 1/1 K1 S1 c0"] * 2


def test_a_loss_over_the_limit_ends_the_run(tmp_path: Path) -> None:
    """The sweep goes on after it."""
    ran = _run(tmp_path, "-m", "engine=reference", "loss_limit=0.01,100")
    assert ran.code == 0, ran.err
    records = [read_json(folder / "record.json") for folder in ran.folders]
    outcomes = {(record["config"]["loss_limit"], record["status"], len(record["epochs"])) for record in records}
    assert outcomes == {(0.01, "diverged", 1), (100.0, "done", 2)}


def test_a_corrupt_record_is_set_aside_and_made_again(tmp_path: Path) -> None:
    words = ("engine=reference", "stages=1", "epochs=1")
    folder = _run(tmp_path, *words).folders[0]
    whole = (folder / "record.json").read_text()
    (folder / "record.json").write_text(whole[:100])
    again = _run(tmp_path, *words)
    assert again.code == 0
    first = again.err.splitlines()[0]
    assert first.startswith(f"run 1/1 K1 S1 c0 {folder.name}: {folder}/record.json: ")
    assert first.endswith("; it is set aside as record.json.corrupt, and the run made again")
    assert (folder / "record.json.corrupt").read_text() == whole[:100]
    assert read_json(folder / "record.json")["metrics"]["loss/train"] == json.loads(whole)["metrics"]["loss/train"]


def test_a_dry_run_lists_the_points_and_writes_nothing(tmp_path: Path) -> None:
    ran = _run(tmp_path / "runs", "-m", "stages=1,2", "staleness=0,2", "dry_run=true")
    assert ran.code == 0, ran.err
    lines = [line.split(": about")[0] for line in ran.out.splitlines()]
    assert [line[:12] for line in lines] == [
        "1/3 K1 S1 c0",
        "    the same",
        "2/3 K2 S1 c0",
        "3/3 K2 S1 c2",
        "3 points, 3 ",
    ]
    assert lines[1] == "    the same as stages=1 staleness=2"
    assert lines[4].startswith("3 points, 3 to run, about 0:00:")
    assert not list(tmp_path.iterdir())
