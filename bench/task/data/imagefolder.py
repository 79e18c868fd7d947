"""``data=imagefolder``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.choice import STRICT, Count, Place


@dataclass(frozen=True)
class ImageFolder:
    """Class folders of images under ``train/`` and ``test/``."""

    __pydantic_config__ = STRICT
    name: Literal["imagefolder"]
    folder: Place
    image_size: Count
    """Side of an image, in pixels; images of another size are resized."""
    augment: bool
