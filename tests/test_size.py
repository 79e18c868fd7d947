"""What cannot fit into memory is refused in one line with its key, before it is allocated."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from bench.__main__ import main
from bench.keys import ConfigError
from bench.study.launcher.size import outline
from bench.task import memory
from bench.task.memory import in_words, require, there_is
from tests import tiny

SYNTHETIC = tiny.VALUES["data"]
MANY = ("data.shape=[1,1,1]", "data.train_size=2000000")
MLP = {"name": "mlp", "hidden": 8, "layers": 2}
VIT = {"name": "vit", "patch": 4, "dim": 8, "depth": 2, "heads": 2}


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["data=synthetic", "data.shape=[3,100000,100000]"], "data.shape=[3, 100000, 100000]"),
        (["data=synthetic", "data.train_size=100000000000"], "data.train_size=100000000000"),
        (["data=synthetic", "data.test_size=100000000000"], "data.test_size=100000000000"),
        (["data=synthetic", "data.classes=100000000000"], "data.classes=100000000000"),
        (["data=synthetic", "data.classes=300000000", "model=vgg"], "data.classes=300000000"),
        (["model=mlp", "model.hidden=5000", "data=synthetic", *MANY, "batch_size=2000000"], "batch_size=2000000"),
        (["model=mlp", "model.hidden=100000000"], "model.hidden=100000000"),
        (["model=mlp", "model.hidden=10000000000"], "model.hidden=10000000000"),
        (["model=mlp", f"model.hidden={10**24}"], f"model.hidden={10**24}"),
        (["model=mlp", "model.layers=1000000000"], "model.layers=1000000000"),
        (["model=mlp", "model.layers=1000000", "model.hidden=50000"], "model.layers=1000000"),
        (["model.width=100000000"], "model.width=100000000"),
        (["model.depth=600000002"], "model.depth=600000002"),
        (["model=wide_resnet", "model.widen=10000000"], "model.widen=10000000"),
        (["model=vit", "model.dim=300000000"], "model.dim=300000000"),
        (["model=vit", "model.depth=1000000000"], "model.depth=1000000000"),
    ],
)
def test_impossible_sizes_are_one_line(
    words: list[str], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The machine has 16 GiB."""
    monkeypatch.setattr(memory, "there_is", lambda: 2**34)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main(["engine=reference", "tracking=none", f"runs_dir={tmp_path}/runs", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"bench: {key}"), said
    assert said.endswith(" of memory or more, and there are 16 GiB; allowed is what fits\n")
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_an_image_size_is_refused_before_an_image_is_decoded(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / split / label).mkdir(parents=True)
            Image.new("L", (2, 2)).save(tmp_path / split / label / "0.png")
    data: Any = {"name": "imagefolder", "folder": str(tmp_path), "image_size": 10**6, "augment": False}
    run = tiny.config(data=data)
    with pytest.raises(ConfigError, match=r"^data\.image_size=1000000: 4 images of that side would need 10\.91 TiB of"):
        run.data.read()


@pytest.mark.parametrize(
    "model",
    [
        *(MLP, VIT, tiny.VALUES["model"], {"name": "vgg", "depth": 11}),
        {"name": "wide_resnet", "depth": 10, "widen": 1},
        {"name": "torchvision", "architecture": "resnet18"},
        {"name": "torchvision", "architecture": "regnet_y_400mf"},
    ],
    ids=lambda model: "-".join(map(str, model.values())),
)
def test_an_outline_has_the_shapes_of_the_network(model: dict[str, Any]) -> None:
    run = tiny.config(model=model, data={**SYNTHETIC, "shape": [3, 32, 32]})
    dataset = tiny.dataset_of(run)
    network = tiny.network_of(run.model, (3, 32, 32), 3)
    layers = outline(run, dataset)
    assert [[p.shape for p in layer.parameters()] for layer in layers] == [
        [p.shape for p in layer.parameters()] for layer in network
    ]
    assert {p.device for layer in layers for p in layer.parameters()} == {torch.device("meta")}


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        # 192 inputs, 8 units twice and 3 classes: the weights, in 10 vectors of float64.
        ({"data": {**SYNTHETIC, "train_size": 1, "test_size": 1}, "batch_size": 1}, 80 * (193 * 8 + 9 * 8 + 9 * 3)),
        # Images and what the three layers hand on, in float32, in bfloat16, and a stage's half.
        ({"batch_size": 96, "precision": "float32"}, 96 * 4 * (192 + 8 + 8 + 3)),
        ({"batch_size": 96, "precision": "float64"}, 96 * 8 * (192 + 8 + 8 + 3)),
        ({"data": {**SYNTHETIC, "train_size": 600}, "batch_size": 600, "stages": 2}, 600 * 4 * (192 + 8 + 8 + 3)),
    ],
)
def test_the_bounds(changes: dict[str, Any], needed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run with as much memory as is needed goes, and with a byte less it does not."""
    run = tiny.config(model=MLP, **changes)
    dataset = tiny.dataset_of(run)
    most = max(needed, 80 * (193 * 8 + 9 * 8 + 9 * 3))
    monkeypatch.setattr(memory, "there_is", lambda: most)
    outline(run, dataset)
    monkeypatch.setattr(memory, "there_is", lambda: most - 1)
    with pytest.raises(ConfigError):
        outline(run, dataset)


def test_memory_is_that_of_the_machine_or_of_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both versions of control groups count, each bounded by those above it."""
    machine = there_is()
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    monkeypatch.setattr(memory, "MEMBERSHIP", tmp_path / "cgroup")
    assert there_is() >= machine > 2**28
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "cgroup").write_text("4:memory:/c\n1:cpu:/a\n0::/a/b\n")
    (tmp_path / "a" / "b" / "memory.max").write_text("max\n")
    (tmp_path / "a" / "memory.max").write_text("5000\n")
    assert there_is() == 5000
    (tmp_path / "memory" / "c").mkdir(parents=True)
    (tmp_path / "memory" / "c" / "memory.limit_in_bytes").write_text("4000\n")
    assert there_is() == 4000


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1024, "1 KiB"), (3 * 2**29, "1.5 GiB"), (2**70, "1,024 EiB")],
)
def test_bytes_in_words(size: int, words: str) -> None:
    assert in_words(size) == words


def test_the_key_with_the_largest_number_is_told() -> None:
    keys = {"a": "name", "b": 3, "c": [4, 2], "d": None}
    with pytest.raises(ConfigError, match=r"^c=\[4, 2\]: it would need 8 EiB of memory or more, and there are "):
        require(keys, 2**63, "it")
    require(keys, math.prod([2, 2]), "it")
