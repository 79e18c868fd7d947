"""A run that a rank has ended: when it begins again by itself, and when it is not worth it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.engine.rank import RankKilled, RunFailed
from bench.record.folder import RunFolder
from bench.study.launcher.restarts import with_restarts
from tests.commands import TORCHRUN

OUTCOME = "its result"


class Plays:
    """Trains as told: each time it leaves a checkpoint, or none, and then ends as told."""

    def __init__(self, folder: RunFolder, *times: tuple[int | None, Exception | None]) -> None:
        self._folder, self._times = folder, list(times)

    def __call__(self) -> str:
        step, failure = self._times.pop(0)
        if step is not None:
            path = self._folder.checkpoints.path
            path.mkdir(exist_ok=True)
            (path / f"{step}.json").touch()
        if failure is not None:
            raise failure
        return OUTCOME

    @property
    def left(self) -> int:
        return len(self._times)


def killed(process: int) -> RankKilled:
    return RankKilled(f"rank 1 (process {process}) was killed by SIGKILL")


def raised(words: str = "sprung", process: int = 7) -> RunFailed:
    return RunFailed(f"rank 1 failed:\nTraceback (process {process})\nArithmeticError: {words}")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def numbers(folder: RunFolder) -> list[tuple[int, int]]:
    return [(event["number"], event["step"]) for event in folder.events() if event["event"] == "restarted"]


def test_it_goes_on_from_its_newest_checkpoint(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    train = Plays(folder, (8, killed(7)), (16, killed(8)), (None, None))
    assert with_restarts(train, folder, 3, "K2 S1 c2 abc") == OUTCOME
    assert numbers(folder) == [(1, 8), (2, 16)]
    assert capsys.readouterr().err.splitlines() == [
        "K2 S1 c2 abc: rank 1 (process 7) was killed by SIGKILL; goes on from update 8, 1 of 3",
        "K2 S1 c2 abc: rank 1 (process 8) was killed by SIGKILL; goes on from update 16, 2 of 3",
    ]


@pytest.mark.parametrize(
    ("times", "restarts", "message", "begun_again"),
    [
        # Nothing would be won by it.
        ([(None, killed(7))], 3, "rank 1 (process 7) was killed by SIGKILL", 0),
        ([(8, killed(7))], 0, "rank 1 (process 7) was killed by SIGKILL", 0),
        # Whoever kills may have other reasons each time.
        ([(8, killed(7)), (None, killed(8))], 1, "rank 1 (process 8) was killed by SIGKILL", 1),
        # A fault of the run's own that comes each time: told once, as it was the first time.
        ([(8, raised(process=7)), (None, raised(process=8))], 3, "Traceback (process 7)", 1),
        # The same words elsewhere are another failure; so are other words in the same place.
        ([(8, raised()), (16, raised()), (24, raised()), (32, raised())], 3, "ArithmeticError: sprung", 3),
        ([(8, raised("a")), (None, raised("b")), (None, raised("c"))], 2, "ArithmeticError: c", 2),
    ],
)
def test_it_ends_where_that_is_not_worth_it(
    times: list[tuple[int | None, Exception]], restarts: int, message: str, begun_again: int, folder: RunFolder
) -> None:
    train = Plays(folder, *times)
    with pytest.raises(RunFailed) as caught:
        with_restarts(train, folder, restarts, "a run")
    assert message in str(caught.value)
    assert len(numbers(folder)) == begun_again
    assert train.left == 0


def test_torchrun_starts_its_ranks_again_itself(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunFailed):
        with_restarts(Plays(folder, (8, killed(7))), folder, 3, "a run")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("the program's own")])
def test_what_is_no_failure_of_a_rank_ends_it(error: BaseException, folder: RunFolder) -> None:
    def train() -> str:
        raise error

    given: Callable[[], str] = train
    with pytest.raises(type(error)):
        with_restarts(given, folder, 3, "a run")
