"""Where the images come from: a configuration to uint8 arrays, decoded once and mapped into memory by every rank.

The parent process calls :func:`prepare`, which decodes the images, checks them and writes one file; ranks call
:func:`load`, which maps that file, so that they share its pages and import no decoder.
"""

from __future__ import annotations

import hashlib
import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from bench.config import CIFAR, ConfigError, Data, Digits, ImageFolder, Synthetic
from bench.task.data import Dataset, assemble

FORMAT = 1
"""Part of a cached file's name: raise it when :class:`~bench.task.data.Dataset` changes."""

CIFAR_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff", ".gif")
SPLITS = ("train", "test")
LAYOUT = "it must hold train/<class>/ and test/<class>/ folders of images"


def prepare(data: Data) -> Path | None:
    """Decode ``data`` into a cached file, unless there is one; synthetic data needs none.

    The file lies in ``<folder>/.staleness-bench/`` or, where that cannot be written, in the user's cache folder. It is
    named after what it was made from and replaced atomically, so processes may prepare the same data at once.

    Raises:
        ConfigError: the data is missing, incomplete or damaged, or there is nowhere to keep the file.
    """
    match data:
        case Synthetic():
            return None
        case Digits():
            return _cached("digits", None, _read_digits)
        case CIFAR():
            files = _list_cifar(data)
            return _cached(f"{data.name}-{_key(files)}", Path(data.folder), lambda: _read_cifar(data))
        case ImageFolder():
            files = _list_images(data)
            name = f"imagefolder-{_key((data.image_size, files))}"
            return _cached(name, Path(data.folder), lambda: _read_images(data, [path for path, *_ in files]))


def load(data: Data, prepared: Path | None = None) -> Dataset:
    """The images, mapped from the file that :func:`prepare` returned (and without one, from what it returns now).

    Raises:
        ConfigError: as :func:`prepare`, if no file is given.
    """
    if isinstance(data, Synthetic):
        return _synthesise(data)
    path = prepared or prepare(data)
    assert path is not None
    return _open(path)


def download(data: Data) -> None:
    """Fetch CIFAR into its folder.

    Raises:
        ConfigError: the data is not CIFAR.
        OSError, RuntimeError: the download failed, or what arrived is damaged.
    """
    if not isinstance(data, CIFAR):
        raise ConfigError(f"data.name={data.name!r}: allowed for a download are 'cifar10' and 'cifar100'")
    from torchvision import datasets  # 2.8 s, here alone

    kind = datasets.CIFAR10 if data.name == "cifar10" else datasets.CIFAR100
    kind(data.folder, download=True)


# ------------------------------------------------------------------------------------------------------------ the cache
def _cached(name: str, folder: Path | None, read: Callable[[], Dataset]) -> Path:
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "staleness-bench"
    places = [user] if folder is None else [folder / ".staleness-bench", user]
    paths = [place / f"{name}-v{FORMAT}.pt" for place in places]
    for path in paths:
        if _is_whole(path):
            return path
    dataset = read()
    reasons = []
    for path in paths:
        try:
            _write(dataset, path)
        except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
            reasons.append(f"{path.parent} ({error})")
        else:
            return path
    raise ConfigError(
        f"XDG_CACHE_HOME={str(user.parent)!r}: decoded images can be kept neither in {' nor in '.join(reasons)}"
    )


def _open(path: Path) -> Dataset:
    return Dataset(**torch.load(path, mmap=True, weights_only=True))


def _is_whole(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        _open(path)
    except Exception:  # a damaged file fails anywhere in the unpickler; it is simply made again
        return False
    return True


def _write(dataset: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
    try:
        with unfinished.open("wb") as file:
            torch.save(vars(dataset), file)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _key(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


# ---------------------------------------------------------------------------------------------------------- the sources
def _synthesise(data: Synthetic) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    channels, height, width = data.shape

    def draw(size: int) -> tuple[Tensor, Tensor]:
        images = torch.randint(0, 256, (size, height, width, channels), dtype=torch.uint8, generator=generator)
        return images, torch.randint(0, data.classes, (size,), generator=generator)

    return assemble(draw(data.train_size), draw(data.test_size), tuple(map(str, range(data.classes))))


def _read_digits() -> Dataset:
    from sklearn.datasets import load_digits  # 1.4 s, here alone

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(3)
    labels = torch.from_numpy(bunch.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order[:1437], order[1437:]
    names = tuple(str(name) for name in bunch.target_names)
    return assemble((images[train], labels[train]), (images[test], labels[test]), names)


def _list_cifar(data: CIFAR) -> list[tuple[str, int, int]]:
    folder = os.path.join(data.folder, CIFAR_FOLDERS[data.name])
    if not os.path.isdir(folder):
        raise ConfigError(f"data.folder={data.folder!r}: holds no {CIFAR_FOLDERS[data.name]}/; {_fetch(data)}")
    with os.scandir(folder) as entries:
        return sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries)


def _read_cifar(data: CIFAR) -> Dataset:
    import numpy
    from torchvision import datasets  # 2.8 s, here alone

    kind = datasets.CIFAR10 if data.name == "cifar10" else datasets.CIFAR100
    splits = []
    try:
        with warnings.catch_warnings():
            # The published files were pickled by a numpy so old that numpy 2.4 warns of its way to write a dtype.
            warnings.simplefilter("ignore", numpy.exceptions.VisibleDeprecationWarning)
            for train in (True, False):
                split = kind(data.folder, train=train, download=False)
                splits.append((torch.from_numpy(split.data), torch.tensor(split.targets)))
    except RuntimeError:
        raise ConfigError(
            f"data.folder={data.folder!r}: its {data.name} is damaged; delete it and {_fetch(data)}"
        ) from None
    return assemble(splits[0], splits[1], tuple(split.classes))


def _fetch(data: CIFAR) -> str:
    return f"fetch it: python -m bench download data={data.name} data.folder={data.folder}"


def _list_images(data: ImageFolder) -> list[tuple[str, int, int]]:
    """Path relative to the folder, bytes and time of change of every image, in order."""
    if not os.path.isdir(data.folder):
        raise ConfigError(f"data.folder={data.folder!r}: there is no such folder; make it, {LAYOUT}")
    root = os.path.join(data.folder, "")
    files: list[tuple[str, int, int]] = []
    names: dict[str, list[str]] = {}
    try:
        for split in SPLITS:
            names[split] = _list_classes(data, split)
            for name in names[split]:
                folder = os.path.join(data.folder, split, name)
                found = [(e.path, e.stat().st_size, e.stat().st_mtime_ns) for e in _walk(folder)]
                if not found:
                    message = f"{split}/{name}/ holds no images; allowed are {' '.join(SUFFIXES)}"
                    raise ConfigError(f"data.folder={data.folder!r}: {message}")
                files += [(path.removeprefix(root), size, changed) for path, size, changed in found]
    except OSError as error:
        raise ConfigError(f"data.folder={data.folder!r}: cannot read {error.filename} ({error.strerror})") from None
    if differing := sorted(set(names["train"]) ^ set(names["test"])):
        message = f"train/ and test/ must have the same classes; only one of them has {', '.join(differing[:5])}"
        raise ConfigError(f"data.folder={data.folder!r}: {message}")
    return files


def _list_classes(data: ImageFolder, split: str) -> list[str]:
    folder = os.path.join(data.folder, split)
    if not os.path.isdir(folder):
        raise ConfigError(f"data.folder={data.folder!r}: has no {split}/; {LAYOUT}")
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise ConfigError(f"data.folder={data.folder!r}: {split}/ has no class folders; {LAYOUT}")
    return names


def _walk(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry.path)
        elif entry.name.lower().endswith(SUFFIXES):
            yield entry


def _read_images(data: ImageFolder, paths: list[str]) -> Dataset:
    classes = _list_classes(data, "train")
    labels = {name: label for label, name in enumerate(classes)}
    images = torch.empty(len(paths), data.image_size, data.image_size, 3, dtype=torch.uint8)
    for index, path in enumerate(tqdm(paths, desc="decoding images", unit=" images", delay=2, mininterval=1)):
        images[index] = _decode(data, path)
    targets = torch.tensor([labels[path.split(os.sep)[1]] for path in paths])
    first_test = sum(path.startswith("train" + os.sep) for path in paths)
    train, test = slice(None, first_test), slice(first_test, None)
    return assemble((images[train], targets[train]), (images[test], targets[test]), tuple(classes))


def _decode(data: ImageFolder, path: str) -> Tensor:
    """uint8 [image_size, image_size, 3]; an image of another shape is stretched to it."""
    import numpy
    from PIL import Image  # ranks decode nothing

    size = (data.image_size, data.image_size)
    try:
        with Image.open(os.path.join(data.folder, path)) as file:
            image = file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConfigError(f"data.folder={data.folder!r}: {path} is not a readable image ({error})") from None
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return torch.from_numpy(numpy.array(image))
