"""A finished run's language model writes text, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bench.__main__ import main
from bench.engine.numerics import Numerics
from bench.engine.sampling import drawn_after
from bench.keys import ConfigError
from bench.study.verbs.sample import parsed
from tests.commands import TINY
from tests.test_language_model import run_of

WORDS = ["model=gpt", "model.layers=1", "model.width=8", "model.heads=2", "model.context=6", "data=markov"]
WORDS += ["data.length=400", "data.symbols=5", "epochs=1", "max_steps=2", "batch_size=4", "engine=reference"]


class Counting(nn.Module):
    """Holds the token after the last one, of seven, nearly certain; and notes what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[list[int]] = []

    def forward(self, tokens: Tensor) -> Tensor:
        self.given.append(tokens[0].tolist())
        return 50.0 * nn.functional.one_hot((tokens + 1) % 7, 7).double()


def test_each_token_is_drawn_after_those_before_it() -> None:
    """By no more of them than the network sees at once."""
    network, numerics = Counting(), Numerics.of(run_of({}), torch.device("cpu"))
    drawn = drawn_after(network, numerics, torch.tensor([4]), 3, 5, 1.0, torch.Generator().manual_seed(0))
    assert drawn.tolist() == [5, 6, 0, 1, 2]
    assert network.given == [[4], [4, 5], [4, 5, 6], [5, 6, 0], [6, 0, 1]]


def test_heat_spreads_the_draws() -> None:
    network, numerics = Counting(), Numerics.of(run_of({}), torch.device("cpu"))
    keyed = torch.Generator().manual_seed(0)
    drawn = drawn_after(network, numerics, torch.tensor([0]), 3, 60, 1e6, keyed)
    assert {*drawn.tolist()} == {*range(7)}


def test_a_run_writes_what_its_seed_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs_dir = f"runs_dir={tmp_path}/runs"
    words = [word for word in TINY if not word.startswith(("data", "model", "runs_dir"))]
    assert main([*words, *WORDS, runs_dir]) == 0
    (run,) = [path.parent.name for path in (tmp_path / "runs").glob("*/model.pt")]
    capsys.readouterr()

    def said(*more: str) -> str:
        assert main(["sample", f"run={run[:8]}", runs_dir, "length=30", *more]) == 0
        return capsys.readouterr().out.rstrip("\n")

    text = said()
    assert len(text) == 30
    assert {*text} <= {*"abcde"}
    assert text == said()
    assert text != said("seed=1")
    assert said("prompt=abc").startswith("abc")
    assert main(["sample", f"run={run}", runs_dir, "prompt=xyz"]) == 2
    assert "prompt='xyz': character 'x': not one of the vocabulary's 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "run: a value is missing; allowed is the hash of a finished run, run=<hash>"),
        (["run"], "run: must be a key with its value, such as run=<hash>"),
        (
            ["run=a", "heat=1"],
            "heat: there is no such key; allowed are run, runs_dir, prompt, length, temperature, seed",
        ),
        (["run=a", "temperature=0"], "temperature='0': must be greater than 0"),
        (["run=a", "length=few"], "length='few': must be a valid integer, unable to parse string as an integer"),
    ],
)
def test_what_is_wrong_is_told(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parsed(words)
    assert str(error.value).startswith(message)


def test_a_run_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "run=abc", f"runs_dir={tmp_path}"]) == 2
    assert f"run='abc': must name one run of runs_dir='{tmp_path}'; none begins so" in capsys.readouterr().err
