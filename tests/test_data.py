"""Data sets are decoded once and whole; batches are a function of (seed, epoch, index, replica)."""

from __future__ import annotations

import io
import json
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter
from torch import Tensor

from bench.choice import choices
from bench.engine.rank import RunFailed
from bench.keys import ConfigError
from bench.record.folder import RunFolder
from bench.study.launcher.agents import launch
from bench.task.batches import Batches
from bench.task.data.cifar import CIFAR, CIFAR10, CIFAR100
from bench.task.data.contract import Data
from bench.task.data.digits import Digits
from bench.task.data.imagefolder import ImageFolder
from bench.task.data.synthetic import Synthetic
from bench.task.dataset import check_batch_size
from bench.task.image_batches import BORDER, ImageBatches, crop_and_flip
from bench.task.labelled import LabelledImages, assemble
from tests import tiny

DIGITS = json.loads((Path(__file__).parents[1] / "results" / "digits.json").read_text())["digest"]
REPOSITORY = Path(__file__).parents[1]

CIFARS: dict[str, type[CIFAR]] = {"cifar10": CIFAR10, "cifar100": CIFAR100}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.set_num_threads(1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "staleness-bench"


def loaded(data: Data, prepared: Path | None = None) -> LabelledImages:
    found = data.load(prepared)
    assert isinstance(found, LabelledImages)
    return found


def numbered(train: int, test: int, side: int = 2, channels: int = 1) -> LabelledImages:
    """Labels name the images, and every image is a constant that its label decides."""

    def split(first: int, size: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(first, first + size)
        return (labels % 251).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, side, side, channels).contiguous(), labels

    return assemble(split(0, train), split(train, test), tuple(map(str, range(train + test))))


def random_dataset(train: int = 40, shape: tuple[int, int, int] = (3, 6, 8)) -> LabelledImages:
    return loaded(Synthetic(list(shape), 5, train, 10, validation=0.0))


# ----------------------------------------------------------------------------------------------------------- batches
@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 7), st.integers(0, 3))
def test_replicas_share_out_an_epoch(train: int, replicas: int, batch_size: int, epoch: int) -> None:
    dataset = numbered(train, 1)
    if replicas * batch_size > train:
        with pytest.raises(ConfigError):
            tiny.batches_of(dataset, seed=0, batch_size=batch_size, replicas=replicas)
        return
    shards = [
        tiny.batches_of(dataset, seed=5, batch_size=batch_size, replica=s, replicas=replicas) for s in range(replicas)
    ]
    alone = tiny.batches_of(dataset, seed=5, batch_size=replicas * batch_size)
    assert {shard.batches for shard in shards} == {train // (replicas * batch_size)} == {alone.batches}
    seen: list[int] = []
    for index in range(alone.batches):
        parts = [shard.targets(epoch, index) for shard in shards]
        assert all(part.shape == (batch_size,) and part.dtype == torch.int64 for part in parts)
        # S replicas of batch B see, at every tick, what one replica of batch S * B would have seen.
        assert torch.equal(torch.cat(parts), alone.targets(epoch, index))
        seen += torch.cat(parts).tolist()
    assert len(set(seen)) == len(seen) == alone.batches * batch_size * replicas
    assert set(seen) <= set(range(train))


def test_batches_are_keyed_by_seed_and_epoch() -> None:
    dataset = random_dataset(train=40)

    def batch(seed: int, epoch: int, index: int) -> Tensor:
        return tiny.batches_of(dataset, seed=seed, batch_size=8, augment=True).inputs(epoch, index)

    assert torch.equal(batch(1, 2, 3), batch(1, 2, 3))
    for other in (batch(2, 2, 3), batch(1, 3, 3), batch(1, 2, 4), batch(2, 1, 3)):
        assert not torch.equal(batch(1, 2, 3), other)
    jumping = tiny.batches_of(dataset, seed=1, batch_size=8, augment=True)
    jumping.inputs(7, 0)
    assert torch.equal(jumping.inputs(2, 3), batch(1, 2, 3)), "an epoch depends on which one came before"
    halves = [batch_of.inputs(2, 1) for batch_of in two_replicas(dataset)]
    assert torch.equal(torch.cat(halves), tiny.batches_of(dataset, seed=1, batch_size=16, augment=True).inputs(2, 1))


def two_replicas(dataset: LabelledImages) -> list[Batches]:
    return [tiny.batches_of(dataset, seed=1, batch_size=8, replica=s, replicas=2, augment=True) for s in range(2)]


def test_images_belong_to_their_labels() -> None:
    dataset = numbered(20, 7)
    batches = tiny.batches_of(dataset, seed=0, batch_size=4)
    for index in range(batches.batches):
        levels = batches.inputs(3, index)[:, 0, 0, 0] * dataset.deviation[0] + dataset.mean[0]
        assert (levels * 255).round().long().tolist() == batches.targets(3, index).tolist()


def test_normalised_images_have_mean_0_and_deviation_1() -> None:
    dataset = random_dataset(train=64)
    batches = tiny.batches_of(dataset, seed=0, batch_size=64, dtype=torch.float64)
    images = batches.inputs(0, 0)
    assert images.shape == (64, 3, 6, 8)
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(images.std((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64))
    raw = dataset.test_images.double().div(255)
    expected = (raw - torch.tensor(dataset.mean).double()) / torch.tensor(dataset.deviation).double()
    torch.testing.assert_close(
        batches.judged["test"].inputs(0)[:10], expected.permute(0, 3, 1, 2), atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 6, 8), (1, 4, 4)])
def test_layouts_hold_the_same_values(dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
    dataset = random_dataset(shape=shape)
    plain = tiny.batches_of(dataset, seed=0, batch_size=8, augment=True, dtype=dtype)
    last = tiny.batches_of(dataset, seed=0, batch_size=8, augment=True, dtype=dtype, channels_last=True)
    assert plain.inputs(0, 1).dtype == last.inputs(0, 1).dtype == dtype
    assert plain.inputs(0, 1).is_contiguous()
    assert last.inputs(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain.inputs(0, 1), last.inputs(0, 1))
    assert torch.equal(plain.judged["test"].inputs(0), last.judged["test"].inputs(0))


def test_crop_and_flip_is_that_of_every_single_image() -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (50, 5, 7, 3), dtype=torch.uint8, generator=generator)
    offsets = torch.randint(0, 2 * BORDER + 1, (50, 2), generator=generator)
    flips = torch.randint(0, 2, (50,), generator=generator)
    result = crop_and_flip(images, offsets, flips)
    for image, (row, column), flip, got in zip(images, offsets.tolist(), flips.tolist(), result, strict=True):
        bordered = np.zeros((5 + 8, 7 + 8, 3), dtype=np.uint8)
        bordered[4:-4, 4:-4] = image.numpy()
        window = bordered[row : row + 5, column : column + 7]
        assert np.array_equal(got.numpy(), window[:, ::-1] if flip else window)


def test_augmentation_draws_every_crop_and_both_sides() -> None:
    batches = tiny.batches_of(random_dataset(train=1000, shape=(1, 2, 2)), seed=0, batch_size=1, augment=True)
    assert isinstance(batches, ImageBatches)
    drawn = batches._drawn(0)
    assert set(drawn.offsets.flatten().tolist()) == set(range(9))
    assert 400 < int(drawn.flips.sum()) < 600
    plain = tiny.batches_of(random_dataset(), seed=0, batch_size=8)
    augmented = tiny.batches_of(random_dataset(), seed=0, batch_size=8, augment=True)
    assert not torch.equal(plain.inputs(0, 0), augmented.inputs(0, 0))
    assert torch.equal(plain.targets(0, 0), augmented.targets(0, 0))
    assert torch.equal(plain.judged["test"].inputs(0), augmented.judged["test"].inputs(0))


@pytest.mark.parametrize(("test", "batch_size"), [(360, 500), (360, 360), (360, 100), (7, 3), (1, 4)])
def test_test_batches_count_every_image_once(test: int, batch_size: int) -> None:
    dataset = numbered(500, test)
    batches = tiny.batches_of(dataset, seed=0, batch_size=batch_size)
    counted: list[int] = []
    for index in range(batches.judged["test"].batches):
        targets, valid = batches.judged["test"].targets(index), batches.judged["test"].valid(index)
        assert targets.shape == (batch_size,) == batches.judged["test"].inputs(index).shape[:1]
        assert set(targets[valid:].tolist()) <= {500 + test - 1}
        counted += targets[:valid].tolist()
    assert counted == dataset.test_labels.tolist()


def test_batch_size_is_bounded() -> None:
    check_batch_size(numbered(100, 1), 25, 4)
    with pytest.raises(ConfigError) as error:
        check_batch_size(numbered(100, 1), 26, 4)
    assert str(error.value) == "batch_size=26: may be at most 25; the data has 100 training images for replicas=4"
    with pytest.raises(ConfigError) as error:
        tiny.batches_of(numbered(3, 1), seed=0, batch_size=1, replicas=4)
    assert str(error.value) == "replicas=4: may be at most 3, the number of training images"


# ---------------------------------------------------------------------------------------------------------- the sources
def test_statistics_and_digest() -> None:
    dataset = random_dataset()
    levels = dataset.train_images.double().flatten(0, 2) / 255
    assert dataset.mean == pytest.approx(levels.mean(0).tolist())
    assert dataset.deviation == pytest.approx(levels.std(0, correction=0).tolist())
    assert (dataset.input_shape, dataset.outputs) == ((3, 6, 8), 5)
    assert dataset.digest == random_dataset().digest != random_dataset(train=41).digest
    changed = dataset.test_labels.clone()
    changed[0] = (changed[0] + 1) % 5
    train, test = (dataset.train_images, dataset.train_labels), (dataset.test_images, changed)
    assert assemble(train, test, dataset.class_names).digest != dataset.digest
    black = torch.zeros(4, 2, 2, 1, dtype=torch.uint8)
    constant = assemble((black, torch.zeros(4).long()), (black, torch.zeros(4).long()), ("a",))
    assert (constant.mean, constant.deviation) == ((0.0,), (1.0,))


def test_synthetic_needs_no_file(cache: Path) -> None:
    data = Synthetic([2, 3, 4], 7, 50, 20)
    assert data.prepare() is None
    dataset = loaded(data, None)
    assert dataset.train_images.shape == (50, 3, 4, 2)
    assert dataset.test_images.shape == (20, 3, 4, 2)
    assert set(dataset.train_labels.tolist()) == set(range(7))
    assert torch.equal(dataset.train_images, loaded(data).train_images)
    assert not cache.exists()


def test_digits(cache: Path) -> None:
    path = Digits().prepare()
    assert path is not None
    assert path.parent == cache
    assert [file.name for file in cache.iterdir()] == [path.name]
    dataset = loaded(Digits(), path)
    assert dataset.train_images.shape == (1437, 8, 8, 1)
    assert dataset.test_images.shape == (360, 8, 8, 1)
    assert (dataset.train_images.dtype, dataset.train_labels.dtype) == (torch.uint8, torch.int64)
    assert (dataset.input_shape, dataset.outputs) == ((1, 8, 8), 10)
    assert int(dataset.train_images.max()) == 255
    assert set(dataset.test_labels.tolist()) == set(range(10))
    written = path.stat().st_mtime_ns
    assert Digits().prepare() == path
    assert path.stat().st_mtime_ns == written, "a whole file was made again"
    assert loaded(Digits()).digest == dataset.digest


@pytest.mark.parametrize("damage", [b"", b"not a file of torch", None])
def test_damaged_cache_is_made_again(damage: bytes | None) -> None:
    path = Digits().prepare()
    assert path is not None
    whole = loaded(Digits(), path).digest
    path.write_bytes(path.read_bytes()[:5000] if damage is None else damage)
    assert Digits().prepare() == path
    assert loaded(Digits(), path).digest == whole


def test_cache_of_another_layout_is_made_again() -> None:
    path = Digits().prepare()
    assert path is not None
    torch.save({"train_images": torch.zeros(1)}, path)
    Digits().prepare()
    assert loaded(Digits(), path).outputs == 10


def overwritten(path: Path, **changes: Any) -> None:
    """A file that claims to be what it was, and says something else."""
    content = io.BytesIO()
    torch.save({**torch.load(path, weights_only=True), **changes}, content)
    path.write_bytes(content.getvalue())


def another_pixel(path: Path) -> None:
    images = loaded(Digits(), path).train_images.clone()
    images[700, 3, 3] ^= 1
    overwritten(path, train_images=images)


def other_statistics(path: Path) -> None:
    overwritten(path, mean=(0.25,))


def classes_that_there_are_not(path: Path) -> None:
    """All of it right, digest included, but that an agent would fail on the labels."""
    dataset = loaded(Digits(), path)
    labels = dataset.test_labels.clone()
    labels[5] = 10
    overwritten(path, **assemble(dataset.train, (dataset.test_images, labels), dataset.class_names).content())


def zeros_in_the_middle(path: Path) -> None:
    """Leave a file as a machine does that lost its power while it was written: as long as it should be."""
    content = path.read_bytes()
    path.write_bytes(content[:40_000] + bytes(4096) + content[44_096:])


PLANTED = [another_pixel, other_statistics, classes_that_there_are_not, zeros_in_the_middle]


@pytest.mark.parametrize("plant", PLANTED)
def test_what_a_file_claims_is_checked(plant: Callable[[Path], None]) -> None:
    """It is checked by whoever maps it; who prepares it makes it again."""
    path = Digits().prepare()
    assert path is not None
    assert loaded(Digits(), path).digest == DIGITS
    plant(path)
    with pytest.raises(ConfigError, match=f"^data.name='digits': {path}: is damaged \\(.*\\); the next command makes"):
        loaded(Digits(), path)
    assert Digits().prepare() == path
    assert loaded(Digits(), path).digest == DIGITS


def test_other_images_have_another_digest() -> None:
    """A file that is right in itself is believed, and recorded as what it is."""
    path = Digits().prepare()
    assert path is not None
    dataset = loaded(Digits(), path)
    train = (255 - dataset.train_images, dataset.train_labels)
    overwritten(path, **assemble(train, dataset.test, dataset.class_names).content())
    assert loaded(Digits()).digest != DIGITS


def test_a_file_that_was_overwritten_since_is_not_trained_on(tmp_path: Path) -> None:
    run = tiny.config(data={"name": "digits"})
    path = run.data.prepare()
    assert path is not None
    another_pixel(path)
    with pytest.raises(RunFailed, match=r"^data\.name='digits': .* is damaged"):
        launch(run, path, RunFolder(tmp_path), {})
    assert not list(tmp_path.glob("*.json*"))


def test_nowhere_to_keep_the_cache(cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    with pytest.raises(ConfigError, match=r"^XDG_CACHE_HOME='.*cache': the data can be kept neither in "):
        Digits().prepare()


def test_ranks_import_no_decoder(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "images")
    path = data.prepare()
    program = (
        "import sys\nfrom pathlib import Path\nfrom bench.task.data.imagefolder import ImageFolder\n"
        "from tests import tiny\n"
        f"dataset = {data!r}.load(Path({str(path)!r}))\n"
        "tiny.batches_of(dataset, seed=0, batch_size=2, augment=True).inputs(0, 0)\n"
        "print([name for name in ('PIL', 'sklearn', 'torchvision') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------------- image folders
def image_folder(folder: Path, image_size: int = 4) -> ImageFolder:
    """Two classes, three training images and one test image of each, red or blue, in PNG, JPEG and grey GIF."""
    for split, count in (("train", 3), ("test", 1)):
        for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                suffix = ("png", "jpg", "PNG")[number]
                Image.new("RGB", (4, 4), colour).save(folder / split / name / f"{number}.{suffix}")
    (folder / "train" / "README.txt").write_text("not a class")
    (folder / "train" / "red" / "notes.txt").write_text("not an image")
    (folder / "train" / ".hidden").mkdir()
    return ImageFolder(str(folder), image_size, True)


def test_image_folder(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "images")
    path = data.prepare()
    assert path is not None
    assert path.parent == tmp_path / "images" / ".staleness-bench"
    dataset = loaded(data, path)
    assert dataset.class_names == ("blue", "red")
    assert dataset.train_images.shape == (6, 4, 4, 3)
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.test_labels.tolist() == [0, 1]
    assert (dataset.train_images.int()[3:, :, :, 0] >= 250).all()
    assert dataset.test_images[0, 0, 0].tolist() == [0, 0, 255]
    assert data.prepare() == path


def test_image_folder_resizes_and_converts(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "images", image_size=6)
    (tmp_path / "images" / "train" / "red" / "deeper").mkdir()
    Image.new("L", (9, 5), 77).save(tmp_path / "images" / "train" / "red" / "deeper" / "grey.png")
    dataset = loaded(data)
    assert dataset.train_images.shape == (7, 6, 6, 3)
    assert sum(image.eq(77).all().item() for image in dataset.train_images) == 1


def test_image_folder_follows_changes(tmp_path: Path) -> None:
    data = image_folder(tmp_path / "images")
    first = data.prepare()
    assert replace(data, image_size=5).prepare() != first
    assert replace(data, augment=False).prepare() == first
    Image.new("RGB", (4, 4), (0, 255, 0)).save(tmp_path / "images" / "train" / "red" / "new.png")
    second = data.prepare()
    assert second != first
    assert len(loaded(data, second).train_labels) == 7


def test_read_only_folder_falls_back_to_the_users_cache(tmp_path: Path, cache: Path) -> None:
    data = image_folder(tmp_path / "images")
    (tmp_path / "images" / ".staleness-bench").write_text("a file where the folder should be")
    path = data.prepare()
    assert path is not None
    assert path.parent == cache
    assert data.prepare() == path
    assert loaded(data).outputs == 2


def broken(folder: Path, defect: str) -> None:
    if defect == "no folder":
        shutil.rmtree(folder)
    elif defect in ("train", "test"):
        shutil.rmtree(folder / defect)
    elif defect == "no classes":
        shutil.rmtree(folder / "test")
        (folder / "test").mkdir()
    elif defect == "empty class":
        for file in (folder / "train" / "blue").iterdir():
            file.unlink()
        (folder / "train" / "blue" / "0.heic").touch()
    elif defect == "one class":
        for split in ("train", "test"):
            shutil.rmtree(folder / split / "red")
    elif defect == "classes":
        (folder / "test" / "red").rename(folder / "test" / "green")
    elif defect == "truncated":
        file = folder / "train" / "blue" / "1.jpg"
        file.write_bytes(file.read_bytes()[:-100])
    elif defect == "no image":
        (folder / "test" / "blue" / "0.png").write_text("no image")
    elif defect == "dangling":
        (folder / "train" / "red" / "3.png").symlink_to(folder / "nowhere")


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        ("no folder", r"there is no such folder; make it, it must hold train/<class>/ and test/<class>/ folders"),
        ("train", r"has no train/; it must hold train/<class>/"),
        ("test", r"has no test/; it must hold train/<class>/"),
        ("no classes", r"test/ has no class folders; it must hold"),
        ("empty class", r"train/blue/ holds no images; allowed are \.jpg .* \.tiff; 1 file is left out: 1 \.heic$"),
        ("one class", r"has one class, blue/; allowed are two or more$"),
        ("classes", r"train/ and test/ must have the same classes; only one of them has green, red$"),
        ("truncated", r"train/blue/1\.jpg is not a readable image \(.*\)$"),
        ("no image", r"test/blue/0\.png is not a readable image \(.*\)$"),
        ("dangling", r"cannot read .*train/red/3\.png \(No such file or directory\)$"),
    ],
)
def test_image_folder_refusals(tmp_path: Path, defect: str, message: str) -> None:
    data = image_folder(tmp_path / "images")
    broken(tmp_path / "images", defect)
    with pytest.raises(ConfigError, match=f"^data\\.folder={re.escape(repr(data.folder))}: {message}"):
        data.prepare()
    assert not list(tmp_path.rglob("*.pt")), "half a data set was kept"
    assert not list(tmp_path.rglob("*.tmp"))


# --------------------------------------------------------------------------------------------------------------- CIFAR
def fake_cifar(folder: Path, name: str) -> CIFAR:
    """The published layout with two images a file, and dtypes written as the numpy of 2009 wrote them."""
    root = folder / CIFARS[name].files
    root.mkdir(parents=True)
    ten = name == "cifar10"
    labels, meta = ("labels", "batches.meta") if ten else ("fine_labels", "meta")
    names = {"label_names" if ten else "fine_label_names": [f"class {i}" for i in range(10 if ten else 100)]}
    files = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"] if ten else ["train", "test"]
    (root / meta).write_bytes(pickle.dumps(names))
    for number, file in enumerate(files):
        pixels = np.full((2, 3072), number, dtype=np.uint8)
        pixels[:, :1024] = 200
        text = pickle.dumps({"data": pixels, labels: [number, 9]}, protocol=0)
        assert b"I00\nI01\n" in text
        (root / file).write_bytes(text.replace(b"I00\nI01\n", b"I0\nI1\n"))
    return CIFARS[name](str(folder), True, validation=0.0)


@pytest.mark.parametrize(("name", "train"), [("cifar10", 10), ("cifar100", 2)])
def test_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, train: int) -> None:
    from torchvision.datasets import cifar

    data = fake_cifar(tmp_path / "data", name)
    with pytest.raises(ConfigError) as error:
        data.prepare()
    fetch = f"fetch it: python -m bench download data={name} data.folder={data.folder}"
    assert str(error.value) == f"data.folder={data.folder!r}: its {name} is damaged; delete it and {fetch}"
    monkeypatch.setattr(cifar, "check_integrity", lambda *_: True)
    path = data.prepare()
    assert path is not None
    assert path.parent == tmp_path / "data" / ".staleness-bench"
    dataset = loaded(data, path)
    assert dataset.train_images.shape == (train, 32, 32, 3)
    assert dataset.test_images.shape == (2, 32, 32, 3)
    assert dataset.train_images[0, 0, 0].tolist() == [200, 0, 0]
    assert dataset.train_labels[:2].tolist() == [0, 9]
    assert dataset.outputs == int(name.removeprefix("cifar"))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_that_was_not_downloaded(tmp_path: Path, name: str) -> None:
    data = CIFARS[name](str(tmp_path), True)
    with pytest.raises(ConfigError, match=f"fetch it: python -m bench download data={name} data.folder="):
        data.prepare()


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    asked: list[tuple[str, bool]] = []
    monkeypatch.setattr(datasets, "CIFAR100", lambda root, download: asked.append((root, download)))
    CIFAR100(str(tmp_path), True).download()
    assert asked == [(str(tmp_path), True)]
    with pytest.raises(ConfigError) as error:
        Digits().download()
    assert str(error.value) == "data.name='digits': allowed for a download are 'cifar10' and 'cifar100'"


def test_committed_groups_are_data() -> None:
    files = sorted((REPOSITORY / "conf" / "data").glob("*.yaml"))
    assert [file.stem for file in files] == sorted(choices(Data))
    for file in files:
        data: Data = TypeAdapter(Data).validate_json(json.dumps(yaml.safe_load(file.read_text())))
        assert data.name == file.stem
