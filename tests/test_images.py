"""Image files of every kind become the levels that they mean, or are refused; what is no image is counted."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bench.keys import ConfigError
from bench.task.data.imagefolder import ImageFolder
from bench.task.images import SUFFIXES, left_out, list_images

SIDE = 4
LEVEL = 30000
"""A level, of at most 65535: 116.7 of 255."""
GREY = {"grey 16-bit": (0, 1), "RGB 16-bit": (2, 3), "grey and alpha 16-bit": (4, 2), "RGBA 16-bit": (6, 4)}
"""PNG's colour types, and their channels."""


def folder_of(root: Path, name: str) -> tuple[ImageFolder, Path]:
    """A folder of two classes, but for its first training image, which is to be written to the path."""
    for split in ("train", "test"):
        for label in ("a", "b"):
            (root / split / label).mkdir(parents=True)
            Image.new("RGB", (SIDE, SIDE)).save(root / split / label / "1.png")
    return ImageFolder(str(root), SIDE, False), root / "train" / "a" / name


def decoded(data: ImageFolder) -> NDArray[np.uint8]:
    """The first training image."""
    levels: NDArray[np.uint8] = data.read().train_images[0].numpy()
    return levels


def png(colour: int, channels: int, level: int) -> bytes:
    """A PNG of 16 bits a channel, which Pillow writes for grey alone."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = (b"\0" + np.full((SIDE, channels), level, ">u2").tobytes()) * SIDE
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def tiff(levels: NDArray[Any], sample_format: int = 1, bits: int = 0, photometric: int = 1) -> bytes:
    """A TIFF of one channel, in the byte order of ``levels``. Samples: 1 unsigned, 2 signed, 3 floating point."""
    order = ">" if levels.dtype.byteorder == ">" else "<"
    content = levels.tobytes()
    tags = [(256, SIDE), (257, SIDE), (258, bits or 8 * levels.itemsize), (259, 1), (262, photometric)]
    tags += [(273, 8 + 2 + 12 * 10 + 4), (277, 1), (278, SIDE), (279, len(content)), (339, sample_format)]
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + entries + struct.pack(f"{order}I", 0) + content


def full(level: float, kind: str) -> NDArray[Any]:
    return np.full((SIDE, SIDE), level, kind)


def packed(level: int) -> NDArray[np.uint8]:
    """Levels of 12 bits a pixel, packed."""
    bits = f"{level:012b}" * SIDE**2
    return np.frombuffer(int(bits, 2).to_bytes(len(bits) // 8, "big"), np.uint8)


@pytest.mark.parametrize(("colour", "channels"), GREY.values(), ids=GREY)
def test_png_of_16_bits_is_scaled(tmp_path: Path, colour: int, channels: int) -> None:
    data, path = folder_of(tmp_path, "0.png")
    path.write_bytes(png(colour, channels, LEVEL))
    assert (decoded(data) == 117).all()
    path.write_bytes(png(colour, channels, 65535))
    assert (decoded(data) == 255).all()
    path.write_bytes(png(colour, channels, 0))
    assert (decoded(data) == 0).all()


@pytest.mark.parametrize(
    ("content", "level"),
    [
        (tiff(full(LEVEL, "<u2")), 117),
        (tiff(full(LEVEL, ">u2")), 117),
        (tiff(full(65535 - LEVEL, "<u2"), photometric=0), 117),
        (tiff(packed(2000), bits=12), 125),
        (tiff(full(0.5, "<f4"), 3), 128),
        (tiff(full(0.5, ">f4"), 3), 128),
        (tiff(full(1, "<f4"), 3), 255),
        (tiff(full(0.25, "<f4"), 3, photometric=0), 191),
        (b"P5\n4 4\n65535\n" + full(LEVEL, ">u2").tobytes(), 117),
        (b"P5\n4 4\n1000\n" + full(500, ">u2").tobytes(), 128),
        (b"P5\n4 4\n15\n" + full(7, "u1").tobytes(), 119),
        (b"Pf\n4 4\n-1.0\n" + full(0.5, "<f4").tobytes(), 128),
    ],
)
def test_deep_grey_is_scaled_by_its_depth(tmp_path: Path, content: bytes, level: int) -> None:
    """Pillow tells formats by what is in a file, so that its name does not matter."""
    data, path = folder_of(tmp_path, "0.tif")
    path.write_bytes(content)
    assert decoded(data).tolist() == [[[level] * 3] * SIDE] * SIDE


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiff(full(1.5, "<f4"), 3), r"its levels are 1.5 to 1.5; allowed are 0 to 1"),
        (tiff(full(-0.5, "<f4"), 3), r"its levels are -0.5 to -0.5; allowed are 0 to 1"),
        (tiff(full(np.nan, "<f4"), 3), r"its levels are nan to nan; allowed are 0 to 1"),
        (tiff(full(np.inf, ">f4"), 3), r"its levels are inf to inf; allowed are 0 to 1"),
        (tiff(full(LEVEL, "<u4")), r"its levels have 32 bits, .*; allowed are 16"),
        (tiff(full(LEVEL, "<i4"), 2), r"its levels are signed, .*; allowed are unsigned ones"),
        (tiff(full(-300, "<i2"), 2), r"its levels are signed, .*; allowed are unsigned ones"),
        (tiff(full(-100, "i1"), 2), r"its levels are signed, .*; allowed are unsigned ones"),
        (tiff(full(0.5, "<f8"), 3), r"cannot identify image file .*"),
    ],
)
def test_levels_without_a_known_white_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    data, path = folder_of(tmp_path, "0.tif")
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^data\.folder='.*': train/a/0\.tif is not a readable image \({reason}\)$"):
        decoded(data)


@pytest.mark.parametrize(
    ("mode", "colour", "name", "expected"),
    [
        ("1", 1, "0.png", (255, 255, 255)),
        ("L", 77, "0.png", (77, 77, 77)),
        ("LA", (77, 0), "0.png", (77, 77, 77)),
        ("PA", (77, 0), "0.tif", (77, 77, 77)),
        ("P", 77, "0.gif", (77, 77, 77)),
        ("RGB", (10, 20, 30), "0.bmp", (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), "0.png", (10, 20, 30)),
        ("RGBA", (10, 20, 30, 128), "0.tiff", (10, 20, 30)),
        ("CMYK", (245, 235, 225, 0), "0.tif", (10, 20, 30)),
        ("I;16", LEVEL, "0.pgm", (117, 117, 117)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, colour: Any, name: str, expected: tuple[int, ...]) -> None:
    data, path = folder_of(tmp_path, name)
    image = Image.new(mode, (SIDE, SIDE), colour)
    if mode in ("P", "PA"):
        image.putpalette([level for level in range(256) for _ in range(3)])
    image.save(path)
    assert decoded(data)[0, 0].tolist() == list(expected)


def test_a_palette_with_levels_of_transparency(tmp_path: Path) -> None:
    data, path = folder_of(tmp_path, "0.png")
    image = Image.new("P", (SIDE, SIDE), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(path, transparency=b"\x10\x20")
    assert decoded(data)[0, 0].tolist() == [10, 20, 30]


ORIENTATIONS = {1: "12/34", 2: "21/43", 3: "43/21", 4: "34/12", 5: "13/24", 6: "31/42", 7: "42/31", 8: "24/13"}
"""What a camera's four corners look like when they are shown as each tag says."""


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize(("orientation", "shown"), ORIENTATIONS.items())
def test_a_rotation_that_the_file_tells_is_applied_once(
    tmp_path: Path, suffix: str, orientation: int, shown: str
) -> None:
    data, path = folder_of(tmp_path, f"0.{suffix}")
    corners = np.array([[50, 100], [150, 200]], np.uint8).repeat(SIDE // 2, 0).repeat(SIDE // 2, 1)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(corners).save(path, exif=exif)
    levels = decoded(data)[:: SIDE // 2, :: SIDE // 2, 0]
    assert "/".join("".join(str(round(level / 50)) for level in row) for row in levels) == shown


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_read(tmp_path: Path, suffix: str) -> None:
    data, path = folder_of(tmp_path, f"0{suffix.upper()}")
    kind = {".jfif": "JPEG", ".pnm": "PPM", ".pgm": "PPM", ".pbm": "PPM", ".apng": "PNG"}.get(suffix)
    Image.new("L", (SIDE, SIDE), 200).save(path, kind)
    assert abs(decoded(data).astype(int) - 200).max() <= 2


def test_files_that_are_left_out_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are counted once for each folder; hidden files are none."""
    data, path = folder_of(tmp_path, "deeper")
    path.mkdir()
    for name in ("x.HEIC", "y.heic", "README", "notes.txt", ".DS_Store"):
        (path / name).touch()
    (tmp_path / "train" / "photo.png").touch()
    (tmp_path / "elsewhere.png").touch()
    words = "5 files are left out: 2 .heic, 1 .png, 1 without a suffix, 1 .txt"
    assert left_out(list_images(data.folder).left_out) == words
    for _ in range(2):
        data.prepare()
    assert capsys.readouterr().err == f"data.folder={data.folder!r}: {words}\n"


def test_at_most_five_suffixes_are_named(tmp_path: Path) -> None:
    data, path = folder_of(tmp_path, "0.a")
    for suffix in "abcdefg":
        path.with_suffix(f".{suffix}").touch()
    found = left_out(list_images(data.folder).left_out)
    assert found == "7 files are left out: 1 .a, 1 .b, 1 .c, 1 .d, 1 .e, 2 more suffixes"


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe1\x00\x08Exif\x00\x00", png(0, 1, 1)[:45], b"P5\n4 4\n0\n"])
def test_a_damaged_image_is_refused_with_its_path(tmp_path: Path, content: bytes) -> None:
    data, path = folder_of(tmp_path, "0.png")
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"train/a/0\.png is not a readable image \(.*\)$"):
        decoded(data)
