"""Pictures as people hold them, made the bytes or arrays that transforms take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmjax.transforms.decode import to_rgb


def raw_pictures(images: Any) -> list[Any]:
    """One picture or several, each a path, encoded bytes, a Pillow image or uint8 [H, W, 3]."""
    several = isinstance(images, Sequence) and not isinstance(images, str | bytes)
    return [_raw(picture) for picture in (images if several else [images])]


def _raw(picture: Any) -> Any:
    if isinstance(picture, str | Path):
        return Path(picture).read_bytes()
    if isinstance(picture, Image.Image):
        return np.asarray(to_rgb(picture))
    return picture
