"""Folders of images: which files belong to a data set, and how each becomes uint8 levels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from bench.keys import ConfigError
from bench.task.labelled import LabelledImages, assemble
from bench.task.memory import require

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif"),
    *(".bmp", ".pbm", ".pgm", ".ppm", ".pnm", ".tif", ".tiff"),
)
SPLITS = ("train", "test")
LAYOUT = "it must hold train/<class>/ and test/<class>/ folders of images"
NAMED = 5
"""The most suffixes of files left out that one line names."""

# What a TIFF says of its levels (TIFF 6.0, pages 29, 37 and 80).
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO, UNSIGNED = 0, 1


class File(NamedTuple):
    """An image's file."""

    path: str
    """The path relative to the data set's folder."""
    size: int
    changed: int
    """The time of the last change, in nanoseconds of Unix time."""


class Listing(NamedTuple):
    """What a folder of images holds."""

    files: list[File]
    """The images' files, in order."""
    classes: list[str]
    left_out: Counter[str]
    """Files in ``train/`` and ``test/`` that are not taken for images, by suffix; hidden ones are not counted."""


def list_images(folder: str) -> Listing:
    """Find the images below a folder.

    Raises:
        ConfigError: it does not hold the same two or more classes of images twice, or cannot be read.
    """
    if not os.path.isdir(folder):
        raise _wrong(folder, f"there is no such folder; make it, {LAYOUT}")
    files: list[File] = []
    names: dict[str, list[str]] = {}
    left_out: Counter[str] = Counter()
    try:
        for split in SPLITS:
            names[split] = _list_classes(folder, split, left_out)
            for name in names[split]:
                found, others = _list_class(folder, f"{split}/{name}")
                files += found
                left_out += others
    except OSError as error:
        raise _wrong(folder, f"cannot read {error.filename} ({error.strerror})") from None
    if differing := sorted(set(names["train"]) ^ set(names["test"])):
        raise _wrong(
            folder, f"train/ and test/ must have the same classes; only one of them has {', '.join(differing[:5])}"
        )
    if len(names["train"]) == 1:
        raise _wrong(folder, f"has one class, {names['train'][0]}/; allowed are two or more")
    return Listing(files, names["train"], left_out)


def left_out(found: Counter[str]) -> str:
    """Say in words how many files are no images, and of which suffixes."""
    kinds = [f"{count} {suffix or 'without a suffix'}" for suffix, count in found.most_common(NAMED)]
    more = [f"{len(found) - NAMED} more suffixes"] if len(found) > NAMED else []
    files = "1 file is" if found.total() == 1 else f"{found.total()} files are"
    return f"{files} left out: {', '.join([*kinds, *more])}"


def read_images(folder: str, size: int, listing: Listing) -> LabelledImages:
    """Decode all images of a folder.

    Raises:
        ConfigError: one is damaged, or has no known scale; or together they are larger than the memory.
    """
    paths = [file.path for file in listing.files]
    require({"data.image_size": size}, 3 * len(paths) * size**2, f"{len(paths)} images of that side")
    labels = {name: label for label, name in enumerate(listing.classes)}
    images = torch.empty(len(paths), size, size, 3, dtype=torch.uint8)
    for index, path in enumerate(tqdm(paths, desc="decoding images", unit=" images", delay=2, mininterval=1)):
        images[index] = _decode(folder, path, size)
    targets = torch.tensor([labels[path.split(os.sep)[1]] for path in paths])
    first_test = sum(path.startswith("train" + os.sep) for path in paths)
    train, test = slice(None, first_test), slice(first_test, None)
    return assemble((images[train], targets[train]), (images[test], targets[test]), tuple(listing.classes))


def _wrong(folder: str, message: str) -> ConfigError:
    return ConfigError(f"data.folder={folder!r}: {message}")


def _list_classes(folder: str, split: str, left_out: Counter[str]) -> list[str]:
    place = os.path.join(folder, split)
    if not os.path.isdir(place):
        raise _wrong(folder, f"has no {split}/; {LAYOUT}")
    names = []
    for entry in _entries(place):
        if entry.is_dir():
            names.append(entry.name)
        else:
            left_out[_suffix(entry)] += 1
    if not names:
        raise _wrong(folder, f"{split}/ has no class folders; {LAYOUT}")
    return names


def _list_class(folder: str, name: str) -> tuple[list[File], Counter[str]]:
    root = os.path.join(folder, "")
    files: list[File] = []
    others: Counter[str] = Counter()
    for entry in _walk(os.path.join(folder, *name.split("/"))):
        if _suffix(entry) in SUFFIXES:
            status = entry.stat()
            files.append(File(entry.path.removeprefix(root), status.st_size, status.st_mtime_ns))
        else:
            others[_suffix(entry)] += 1
    if not files:
        found = f"; {left_out(others)}" if others else ""
        raise _wrong(folder, f"{name}/ holds no images; allowed are {' '.join(SUFFIXES)}{found}")
    return files, others


def _walk(folder: str) -> Iterator[os.DirEntry[str]]:
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _walk(entry.path)
        else:
            yield entry


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """The entries of a folder by name, without what is hidden."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _suffix(entry: os.DirEntry[str]) -> str:
    return os.path.splitext(entry.name)[1].lower()


def _decode(folder: str, path: str, side: int) -> Tensor:
    """Decode an image to uint8 [image_size, image_size, 3]; one of another shape is stretched to it."""
    import numpy
    from PIL import Image, ImageOps  # ranks decode nothing

    size = (side, side)
    try:
        with Image.open(os.path.join(folder, path)) as file:
            # Into the opened file, which alone knows the format that its levels are of.
            ImageOps.exif_transpose(file, in_place=True)
            image = _in_8_bits(file)
    except Exception as error:  # a damaged image fails anywhere in its decoder
        raise _wrong(folder, f"{path} is not a readable image ({error})") from None
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return torch.from_numpy(numpy.array(image))


def _in_8_bits(image: Any) -> Any:
    """Bring an image to RGB, transparency dropped; deeper levels are scaled, which Pillow would cut off at 255.

    Raises:
        ValueError: nobody says which of its levels is white, or some are beyond.
    """
    import numpy
    from PIL import Image

    tags = getattr(image, "tag_v2", {})
    if image.mode != "F" and set(tags.get(SAMPLE_FORMAT, (UNSIGNED,))) != {UNSIGNED}:
        raise ValueError("its levels are signed, so that nobody says which is black; allowed are unsigned ones")
    if image.mode != "F" and not image.mode.startswith("I"):
        # Pillow wants a detour where a palette has levels of transparency.
        return (image.convert("RGBA") if image.mode == "P" else image).convert("RGB")
    levels, white = numpy.asarray(image, dtype=numpy.float64), _white(image, tags)
    if not (levels.min() >= 0 and levels.max() <= white):
        raise ValueError(f"its levels are {levels.min():g} to {levels.max():g}; allowed are 0 to {white}")
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        levels = white - levels
    return Image.fromarray((levels * (255 / white)).round().astype(numpy.uint8)).convert("RGB")


def _white(image: Any, tags: Mapping[int, Any]) -> int:
    """The level of white in an image of one channel that is not of 8 bits."""
    if image.mode == "F":
        return 1
    if image.mode.startswith("I;16"):
        return int(2 ** tags.get(BITS, (16,))[0] - 1)
    if image.format == "PPM":
        return 65535  # what Pillow scales such levels to
    raise ValueError("its levels have 32 bits, of which nobody says how many are used; allowed are 16")
