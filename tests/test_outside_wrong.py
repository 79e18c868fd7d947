"""A choice of a user's own that fails: exit code 2, one message with the key, and the file and line that failed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import Said, said
from tests.test_outside import CHOICES, CONF, SMALL

Try = Callable[..., tuple[Said, Path]]
HEAD = """\
import torch, numpy
from dataclasses import dataclass
from typing import ClassVar
from bench.rule.correction.contract import Correction
from bench.task.labelled import assemble
from tests.outside import following, images, mixing, nets, rates, rules, starting, steps, ways
"""
LINE = HEAD.count("\n") + 4
"""The line after a class's name, where what is tried begins."""


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Try:
    """Run a sweep over a choice whose class is below the package's of its group, with other lines in it."""
    name = f"wrong_{abs(hash(request.node.name))}"
    file = tmp_path / "users" / f"{name}.py"
    file.parent.mkdir()
    monkeypatch.syspath_prepend(file.parent)

    def answer(group: str, lines: str, *words: str, head: str = "") -> tuple[Said, Path]:
        kind = CHOICES[group]
        base = f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"
        head = head or f"@dataclass(frozen=True)\nclass Wrong({base}):\n    name: ClassVar[str] = 'wrong'\n"
        file.write_text(HEAD + head + lines)
        importlib.invalidate_caches()
        folder = tmp_path / "work"
        small = [word for word in SMALL if not word.startswith(f"{group}.")]
        chosen = [f"{group}={kind.name}", f"{group}._target_={name}.Wrong", "lr.gamma0=0.01", *words]
        untold = [] if group == "tracking" else ["tracking=none"]
        answered = said(folder, *small, *chosen, *untold, "--config-dir", str(CONF))
        assert not list(folder.iterdir()), answered
        return answered, file

    return answer


FAILS = "        return 1 / 0\n"
IN_CHECK = {
    "entries": ("model", f"    def entries(self, shape, classes):\n{FAILS}", 1, "ZeroDivisionError: division by zero"),
    "entries that are none": ("model", "    entries = None\n", -3, "TypeError: 'NoneType' object is not callable"),
    "forward": (
        "model",
        "    def entries(self, shape, classes):\n"
        "        yield torch.nn.Flatten()\n        yield torch.nn.Linear(3, classes)\n",
        -3,
        "RuntimeError: ",
    ),
    "read": ("data", f"    def read(self):\n{FAILS}", 1, "ZeroDivisionError: division by zero"),
    "read that gives none": ("data", "    def read(self):\n        pass\n", -3, "TypeError: read returned NoneType"),
    "post init": ("correction", f"    def __post_init__(self):\n{FAILS}", 1, "ZeroDivisionError: division by zero"),
    "post init that refuses": (
        "correction",
        "    def __post_init__(self):\n        raise ValueError('part is odd')\n",
        1,
        "ValueError: part is odd",
    ),
    "post init that asserts": (
        "lr",
        "    def __post_init__(self):\n        assert False\n",
        1,
        "AssertionError: in __post",
    ),
    "by_parameter": (
        "optimizer",
        f"    def by_parameter(self, given, layout):\n{FAILS}",
        1,
        "ZeroDivisionError: division",
    ),
    "part": ("lr", f"    def part(self, step, steps, epoch):\n{FAILS}", 1, "ZeroDivisionError: division by zero"),
    "part that is nothing": ("lr", "    def part(self, *_):\n        return -1\n", -3, "ValueError: rates are "),
    "part at a later update": (
        "lr",
        "    def part(self, step, steps, epoch):\n        return [1.0, 0.5][step]\n",
        1,
        "IndexError: list index out of range",
    ),
    "forward with weights": (
        "model",
        "    def entries(self, shape, classes):\n        yield torch.nn.Flatten()\n"
        "        yield torch.nn.Sequential(torch.nn.Linear(64, classes), Broken())\n"
        "class Broken(torch.nn.Module):\n    def forward(self, x):\n"
        "        return x if x.is_meta else 1 / 0\n",
        5,
        "ZeroDivisionError: division by zero",
    ),
    "long run": ("lr", f"    def long_run(self):\n{FAILS}", 1, "ZeroDivisionError: division by zero"),
    "discount": ("correction", f"    def discount(self, *_):\n{FAILS}", 1, "ZeroDivisionError: division by zero"),
    "mixing": ("averaging", f"    def mixing(self, replicas):\n{FAILS}", 1, "ZeroDivisionError: division by zero"),
    "mixing that does not": (
        "averaging",
        "    def mixing(self, replicas):\n        return numpy.ones((2, 2))\n",
        -3,
        "ValueError: the mixing must be symmetric (2, 2) with rows of sum 1, not [[1.0, 1.0], [1.0, 1.0]]",
    ),
    "refuses": ("correction", f"    def refuses(self, run):\n{FAILS}", 1, "ZeroDivisionError: division by zero"),
    "method that refuses": (
        "method",
        f"    def refuses(self, run):\n{FAILS}",
        1,
        "ZeroDivisionError: division by zero",
    ),
    "worker": (
        "method",
        "    oracle = 'tests.outside.ways.Nobody'\n",
        -3,
        "AttributeError: module 'tests.outside.ways' ",
    ),
    "check": ("launcher", f"    def check(self):\n{FAILS}", 1, "ZeroDivisionError: division by zero"),
    "tracker": ("tracking", f"    def tracker(self):\n{FAILS}", 1, "ZeroDivisionError: division by zero"),
    "begin": (
        "tracking",
        "    def tracker(self):\n        return Broken()\n"
        f"class Broken(following.Tracker):\n    def begin(self, sweep):\n{FAILS}",
        4,
        "ZeroDivisionError: division by zero",
    ),
    "launcher that refuses": (
        "launcher",
        "    def refuses(self, run):\n        raise ValueError(run.epochs)\n",
        1,
        "ValueError: 2",
    ),
    "exit": ("correction", "    def discount(self, *_):\n        raise SystemExit(0)\n", 1, "SystemExit: 0"),
}


@pytest.mark.parametrize(("group", "lines", "line", "message"), IN_CHECK.values(), ids=IN_CHECK)
def test_what_fails_is_told_with_its_line(group: str, lines: str, line: int, message: str, tried: Try) -> None:
    answer, file = tried(group, lines, *(["replicas=2"] if group == "averaging" else []))
    assert answer.code == 2
    assert answer.err.startswith(f"bench: {group}='wrong': {file}:{LINE + line}: {message}"), answer.err
    assert answer.err.count("\n") == 1


def test_a_users_own_refusal_is_its_own_words(tried: Try) -> None:
    answer, _ = tried("correction", "    def refuses(self, run):\n        return 'needs more'\n")
    assert (answer.code, answer.err) == (2, "bench: correction=wrong needs more\n")


IN_IMPORT = {
    "raises": ("raise KeyError('key')\n", "{file}:7: KeyError: 'key'"),
    "imports what is not there": ("import nothing_like_it\n", "{file}:7: ModuleNotFoundError: No module named"),
    "is no Python": ("class Wrong(:\n", "{file}:7: SyntaxError: invalid syntax"),
    "ends": ("raise SystemExit(0)\n", "{file}:7: SystemExit: 0"),
    "has no such class": ("class Right: pass\n", "{file.stem} has no such class"),
    "has no class of that name": ("def Wrong(): pass\n", "{file.stem} has no such class"),
    "is of no group": ("class Wrong: pass\n", "{file}:7: must be a frozen dataclass that fulfils bench.rule.correc"),
    "is of another group": (
        "Wrong = nets.LeNet\n",
        "{nets}:12: must be a frozen dataclass that fulfils bench.rule.corr",
    ),
    "is not frozen": (
        "@dataclass\nclass Wrong(Correction):\n    name: ClassVar[str] = 'wrong'\n",
        "{file}:7: must be a frozen",
    ),
    "is no dataclass": (
        "class Wrong(Correction):\n    name: ClassVar[str] = 'wrong'\n",
        "{file}:7: must be a frozen dataclass that fulfils bench.rule.correction.contract.Correction and says its name",
    ),
    "has a name of the suite's": (
        "@dataclass(frozen=True)\nclass Wrong(Correction):\n    name: ClassVar[str] = 'shrink'\n",
        "{file}:7: its name 'shrink' is the suite's; allowed is none of none, shrink, lr_discount, weight_prediction",
    ),
    "has no name": (
        "@dataclass(frozen=True)\nclass Wrong(Correction):\n    part: float\n",
        "{file}:7: must be a frozen",
    ),
}


@pytest.mark.parametrize(("text", "message"), IN_IMPORT.values(), ids=IN_IMPORT)
def test_what_cannot_be_imported_or_is_no_choice_is_told(text: str, message: str, tried: Try) -> None:
    answer, file = tried("correction", "", head=text)
    told = message.format(file=file, nets=Path(__file__).parent / "outside/nets.py")
    assert answer.code == 2
    assert answer.err.startswith(f"bench: correction._target_='{file.stem}.Wrong': {told}"), answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("target", ["nowhere.Wrong", "Wrong", "a-b", "4", "''"])
def test_a_target_that_is_nowhere_is_one_message(target: str, tmp_path: Path) -> None:
    answer = said(tmp_path, "correction=halve", f"correction._target_={target}", "--config-dir", str(CONF))
    assert answer.code == 2
    assert answer.err.startswith("bench: correction._target_="), answer.err
    assert answer.err.count("\n") == 1
    assert not list(tmp_path.iterdir())
