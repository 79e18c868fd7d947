"""Two hosts that this machine plays: their line, what crosses it, and that nothing of them stays."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.keys import ConfigError
from bench.plan.forecast.traffic import allreduce_bytes, boundary_bytes
from bench.study.compare.hosts import between, run_across
from bench.study.compare.line import DEVICE, LEAST_BURST, NAMESPACES, linked
from bench.study.compare.network_runs import METHODS, MODELS, Forecast, Trial, contenders, crossing_bytes
from bench.study.sweep.compose import compose
from bench.study.verbs.network import parse_rates, report
from bench.task.judgement import OLDEST
from tests.commands import BENCH, await_that, command

SMALL = ("data=synthetic", "data.shape=[3,16,16]", "data.test_size=64", "model.depth=8", "tracking=none", "epochs=1")
CUT = ("stages=2", "partition=[1]", "batch_size=64", "data.train_size=1280", "lr=constant", "lr.gamma0=0.001")
"""Overrides of a run that sends a megabyte each way at each of 20 updates: at 100 Mbit/s at least 1.7 s."""


def _rights() -> bool:
    try:
        with linked():
            return True
    except ConfigError:
        return False


@pytest.fixture
def rights() -> None:
    if not _rights():
        pytest.skip("needs the right to make network namespaces")


def _namespaces(process: int) -> list[str]:
    return [path.name for path in NAMESPACES.glob(f"staleness-bench-{process}-*")]


@pytest.mark.full
@pytest.mark.usefixtures("rights")
@pytest.mark.timeout(400)
def test_messages_cross_the_shaped_line_and_nothing_stays(tmp_path: Path) -> None:
    words = [*SMALL, *CUT, "staleness=2"]
    with linked() as link:
        link.shape(100)
        # The bucket cut up segments of 64 KiB, and its timers took a quarter of the cores that were to compute.
        show = ["ip", "-n", link.names[0], "-details", "link", "show", DEVICE]
        shown = subprocess.run(show, check=True, capture_output=True, text=True).stdout
        assert f" gso_max_size {round(0.9 * LEAST_BURST)} " in shown
        for name in link.names:
            show = ["tc", "-n", name, "qdisc", "show", "dev", DEVICE]
            assert " rate 100Mbit " in subprocess.run(show, check=True, capture_output=True, text=True).stdout
        # 1,448 of 1,514 bytes are the message's. A busy machine may send less than the line lets pass.
        assert 0 < link.measured(100) < 95.7 + 5
        crossing = run_across(link, words, tmp_path)
        assert link.processes() == []
        assert len(_namespaces(os.getpid())) == 2
    assert _namespaces(os.getpid()) == []
    config, record = compose(words), crossing.record
    assert Path(tmp_path, "runs", config.hash(), "record.json").exists()
    assert record["status"] == "done"
    assert [agent["rank"] for agent in record["agents"]] == [0, 1]
    expected = crossing_bytes(config, record["partition"]) * 20
    assert expected == 2 * 20 * 64 * 16 * 16 * 16 * 4
    assert crossing.line_bytes == pytest.approx(expected, rel=0.2)
    assert record["metrics"]["time/train_seconds"] > 0.9 * expected / 2 / 12.5e6


@pytest.fixture
def network(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command, once its ranks are in the namespaces."""
    with command([*BENCH, "network", "--rates=100", "--rounds=1"], tmp_path) as running:
        process = running.process

        def ranks() -> bool:
            assert process.poll() is None, running.stderr
            answers = [_ip(f"pids {name}") for name in _namespaces(process.pid)]
            return len("".join(answers).split()) >= 4

        await_that(ranks, lambda: running.stderr)
        yield process
        assert running.stderr.splitlines()[-1] == "bench: interrupted"


@pytest.mark.usefixtures("rights")
@pytest.mark.timeout(400)
@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_leaves_nothing(network: subprocess.Popen[bytes], number: signal.Signals) -> None:
    inside = [int(word) for name in _namespaces(network.pid) for word in _ip(f"pids {name}").split()]
    network.send_signal(number)
    assert network.wait() == 130
    assert _namespaces(network.pid) == []
    assert [process for process in inside if Path(f"/proc/{process}/cwd").exists()] == []


def test_a_failed_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rights: None) -> None:  # noqa: ARG001
    monkeypatch.setattr(sys, "executable", "/bin/false")
    from bench.engine.rank import RunFailed

    with pytest.raises(RunFailed, match=r"^host \d failed:"), linked() as link:
        run_across(link, [*SMALL, *CUT], tmp_path)
    assert _namespaces(os.getpid()) == []


HOLD = """
import subprocess, time
from bench.study.compare.line import NAMESPACES, linked
with linked() as link:
    subprocess.Popen(link.inside(0, ["sleep", "300"]), start_new_session=True)
    while not link.processes():
        time.sleep(0.01)
    print("ready", flush=True)
    time.sleep(300)
"""


@pytest.mark.usefixtures("rights")
def test_what_a_killed_command_has_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """The next command removes its namespaces, and what still runs in them."""
    with command([sys.executable, "-c", HOLD], tmp_path) as running:
        process = running.process
        await_that(lambda: running.stdout, lambda: running.stderr)
        process.kill()
        process.wait()
        assert len(_namespaces(process.pid)) == 2
        inside = int(_ip(f"pids staleness-bench-{process.pid}-0"))
        with linked():
            assert _namespaces(process.pid) == []
            assert not Path(f"/proc/{inside}/cwd").exists()
            assert len(_namespaces(os.getpid())) == 2
    assert _namespaces(os.getpid()) == []


@pytest.fixture
def others(rights: None) -> Iterator[list[str]]:  # noqa: ARG001
    """Namespaces that are not the next command's to remove: of a living process, and of other names."""
    names = [f"staleness-bench-{os.getppid()}-0", "staleness-bench-mine-0", "staleness-bench-0"]
    for name in names:
        _ip(f"add {name}")
    yield names
    for name in names:
        _ip(f"delete {name}")


def test_what_others_have_made_stays(others: list[str]) -> None:
    """What has this process's own id was made by one that had it before."""
    _ip(f"add staleness-bench-{os.getpid()}-1")
    with linked():
        assert {path.name for path in NAMESPACES.iterdir()} >= set(others)
    assert _namespaces(os.getpid()) == []


def _ip(words: str) -> str:
    return subprocess.run(["ip", "netns", *words.split()], check=True, capture_output=True, text=True).stdout


def test_without_the_commands_there_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["network"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("bench: network: needs ip, tc (iproute2) and unshare (util-linux)")
    assert message.endswith("there is no ip and no tc and no unshare\n")
    assert message.count("\n") == 1


def test_without_the_rights_there_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ip", "tc", "unshare"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'mount failed:\nOperation not permitted' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["network"]) == 2
    message = capsys.readouterr().err
    assert message.endswith("(root): mount failed: Operation not permitted\n")
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rates=fast"], "--rates='fast': must be Mbit/s above 0 with commas between, e.g. 1000,100"),
        (["--rates=100,0"], "--rates='100,0': must be Mbit/s above 0 with commas between, e.g. 1000,100"),
        (["--rounds=0"], "--rounds=0: must be at least 1"),
        (["batch_size=7"], "batch_size=7: must be even, as two replicas share it"),
    ],
)
def test_wrong_arguments(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["network", *words]) == 2
    assert capsys.readouterr().err == f"bench: {message}\n"


def test_rates() -> None:
    assert parse_rates("1000,100") == [1000.0, 100.0]


@pytest.mark.parametrize("model", MODELS)
def test_methods_do_the_same_work_with_two_agents(model: str) -> None:
    configs = [compose(overrides) for overrides in contenders(model, ["batch_size=48"]).values()]
    assert {config.agents for config in configs} == {2}
    assert {config.batch_size * config.replicas for config in configs} == {48}
    assert len({(config.model, str(config.data), config.max_steps) for config in configs}) == 1


def test_traffic() -> None:
    """Two microbatches of 10 bytes go and come; two replicas hand each other half a tensor twice, four 3/4 twice."""
    assert boundary_bytes(10, 2) == 40
    assert allreduce_bytes(100, 2) == 2 * (50 + 50)
    assert allreduce_bytes(100, 4) == 4 * (75 + 75)


def test_bytes_of_data_parallelism_are_its_gradients() -> None:
    """A perceptron of 12 inputs, 5 hidden units and 3 classes: 65 + 18 parameters."""
    words = ["model=mlp", "model.hidden=5", "model.layers=1", "data=synthetic", "data.shape=[3,2,2]", "data.classes=3"]
    ddp = ["method=ddp", "stages=1", "replicas=2"]
    assert crossing_bytes(compose([*words, *ddp]), []) == 2 * 83 * 4
    assert crossing_bytes(compose([*words, *ddp, "precision=float64"]), []) == 2 * 83 * 8


def test_a_counter_is_read_between_its_samples() -> None:
    samples = [(1.0, 0), (2.0, 100), (4.0, 100), (5.0, 300)]
    assert between(samples, 1.5, 4.5) == 150
    assert between(samples, 2.0, 5.0) == 200
    assert between(samples, 0.0, 9.0) == 300


def test_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The machine slows down by half after the first round: the ratios do not see it."""
    monkeypatch.chdir(tmp_path)
    speeds = dict.fromkeys(METHODS, 100.0) | {"FDG": 150.0}
    trials = [
        Trial("mlp", rate, 0.95 * rate, method, speed / slower, 1000.0, 1050.0, 0.5, 0.25)
        for slower in (1, 2)
        for rate in (100.0, 1000.0)
        for method, speed in speeds.items()
    ]
    forecasts = [
        Forecast("mlp", rate, method, 1.05 * speed / slower)
        for slower in (1, 2)
        for rate in (100.0, 1000.0)
        for method, speed in speeds.items()
    ]
    report(trials, forecasts, {"cpu": "a CPU", "cores": 2, "torch": "2.14.1", "tcp": "cubic"}, OLDEST)
    with Path("results/network.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["megabits"], row["method"]) for row in rows] == [(r, m) for r in ("1000.0", "100.0") for m in METHODS]
    ddp = next(row for row in rows if row["method"] == "ddp")
    assert [ddp[f"fdg_over_it{end}"] for end in ("", "_low", "_high")] == ["1.5"] * 3
    assert (ddp["images_per_second"], ddp["n"], ddp["measured_megabits"]) == ("75.0", "2", "950.0")
    assert (ddp["bytes_per_image"], ddp["line_bytes_per_image"]) == ("1000.0", "1050.0")
    assert ddp["predicted_images_per_second"] == "78.75"
    assert [row[f"predicted_over_measured{end}"] for row in rows for end in ("", "_low", "_high")] == ["1.05"] * 24
    assert rows[0]["fdg_over_it"] == ""
    assert rows[0]["tcp"] == "cubic"
    assert "| mlp   |   1000 |    950.0 | ddp " in capsys.readouterr().out
