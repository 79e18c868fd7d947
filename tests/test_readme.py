"""What the README says can be clicked and typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bench.__main__ import VERBS
from bench.study.compose import compose, sweep

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
BENCH = [command.split("-m bench", 1)[1] for command in COMMANDS if "-m bench" in command]


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 10
    local = [link for link in links if not link.startswith("http")]
    files = [link for link in local if not link.startswith("#") and not (ROOT / link).exists()]
    headings = ["#" + title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", README, re.MULTILINE)]
    anchors = [link for link in local if link.startswith("#") and link not in headings]
    assert not files + anchors


@pytest.mark.parametrize("command", BENCH)
def test_every_bench_command_composes(command: str) -> None:
    words = shlex.split(command)
    words = words[1:] if words and words[0] in VERBS else words
    if "--help" in words:
        return
    if "-m" in words:
        words.remove("-m")
        assert len(sweep(words)) > 1
    else:
        assert compose(words)


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"\bmake ([a-z]+)", README))
    assert {"demo", "test", "benchmark"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
