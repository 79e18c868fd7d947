"""What the README says can be clicked and typed, and it stays short enough to be read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bench.__main__ import parser_of, verb_names
from bench.study.report.markdown import BLOCK
from bench.study.sweep.compose import single, sweep
from bench.study.sweep.library import RUN
from bench.study.tune.study import TUNE
from bench.study.verbs.sample import parsed

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.split("  #")[0].strip()
    for language, block in FENCED.findall(README)
    for line in block.splitlines()
    if not language and line.strip()
]
BENCH = [command.split("-m bench", 1)[1] for command in COMMANDS if "-m bench" in command]


def test_it_is_short() -> None:
    lines = README.splitlines()
    assert len(lines) <= 250
    tables = [line for line in lines if line.startswith(("|", "![", "[", "All rows"))]
    assert max(len(line) for line in lines if line not in tables) <= 130


@pytest.mark.parametrize("name", ["README.md", "results/README.md"])
def test_every_link_leads_somewhere(name: str) -> None:
    page = (ROOT / name).read_text()
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert len(links) > 10
    local = [link for link in links if not link.startswith("http")]
    files = [link for link in local if not link.startswith("#")]
    missing = [link for link in files if not (ROOT / name).parent.joinpath(link.partition("#")[0]).exists()]
    assert not missing
    for file, _, heading in (link.partition("#") for link in local if "#" in link):
        told = (ROOT / name).parent.joinpath(file).read_text() if file else page
        assert heading in [title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", told, re.MULTILINE)]


def test_its_tables_are_there() -> None:
    """What they hold is made by ``python -m bench results``, and compared in ``test_dvc.py``."""
    blocks = list(BLOCK.finditer(README))
    assert len(blocks) == 2
    assert all("|" in block[0] for block in blocks)


def test_its_choice_of_ones_own_is_that_of_the_tests() -> None:
    """It is the whole text of a file, which is run by ``tests/test_outside.py``."""
    texts = {language: text for language, text in FENCED.findall(README) if language}
    assert texts["python"] == (ROOT / "tests/outside/rules.py").read_text()
    name, _, text = texts["yaml"].removeprefix("# ").partition("\n")
    assert text == (ROOT / "tests/outside" / name).read_text()


@pytest.mark.parametrize("command", BENCH)
def test_every_bench_command_composes(command: str) -> None:
    words = shlex.split(command)
    verb = words.pop(0) if words and words[0] in verb_names() else None
    if "--help" in words:
        return
    arguments = parser_of(verb).parse_intermixed_args(words)
    if verb == "sample":
        assert parsed(arguments.overrides).run
        return
    primary = (TUNE if verb == "tune" else RUN).beside(arguments.config_dir)
    if arguments.multirun:
        assert len(sweep(arguments.overrides, primary)) > 1
    else:
        assert single(arguments.overrides, primary)


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)?)", README))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
