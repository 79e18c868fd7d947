"""``data=imagefolder``: class folders of images."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.keys import Count, Place
from bench.task.data.contract import Data

if TYPE_CHECKING:
    from bench.task.labelled import LabelledImages


@dataclass(frozen=True)
class ImageFolder(Data):
    """Class folders of images under ``train/`` and ``test/``."""

    name: ClassVar[str] = "imagefolder"
    place: ClassVar[int] = 4
    folder: Place
    """The folder with ``train/`` and ``test/``."""
    image_size: Count
    """Side of an image in pixels; images of another size are resized."""
    augment: bool
    """Whether to crop at random out of a 4-pixel border, and to mirror at random."""

    def prepare(self) -> Path:
        from bench.task.cache import kept, key_of
        from bench.task.images import left_out, list_images, read_images

        listing = list_images(self.folder)
        if listing.left_out:
            _say(f"data.folder={self.folder!r}: {left_out(listing.left_out)}")
        name = f"{self.name}-{key_of((self.image_size, listing.files))}"
        return kept(name, Path(self.folder), lambda: read_images(self.folder, self.image_size, listing))

    def read(self) -> LabelledImages:
        from bench.task.images import list_images, read_images

        return read_images(self.folder, self.image_size, list_images(self.folder))

    def sizes(self) -> Mapping[str, object]:
        return {"data.image_size": self.image_size}


@functools.cache
def _say(line: str) -> None:
    """Tell the user, once."""
    print(line, file=sys.stderr)
