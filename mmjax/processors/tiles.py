"""A large picture as several: once as a whole, then in tiles at a higher resolution (AnyRes).

LLaVA-NeXT, https://llava-vl.github.io/blog/2024-01-30-llava-next/

* The grid of tiles is the one that shows most of the picture's own pixels, and of those the one
  with least black about it. Tiles are those of `LlavaNextImageProcessor`.
* Each tile is a picture to the model, with as many image tokens; the whole comes first. (LLaVA-NeXT
  itself then leaves out the tokens of the black edges, and marks the ends of rows.)

Letters: H and W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from mmjax.processors.checkpoints.pixels import opened


def best_grid(
    height: int, width: int, grids: Sequence[tuple[int, int]], edge: int
) -> tuple[int, int]:
    """Rows and columns of the tiles for a picture.

    Args:
      grids: rows and columns, to choose from.
      edge: pixels along each edge of a tile.
    """

    def shown(grid: tuple[int, int]) -> tuple[int, int]:
        high = grid[0] * edge
        wide = grid[1] * edge
        scale = min(wide / width, high / height)
        pixels = min(int(width * scale) * int(height * scale), width * height)
        return pixels, pixels - high * wide

    return max(grids, key=shown)


def tiles(
    picture: Any, grids: Sequence[tuple[int, int]], edge: int, resample: int = 3
) -> list[Image.Image]:
    """The whole picture as a square, then its tiles in reading order.

    Args:
      picture: a path, encoded bytes, a Pillow image or uint8 [H, W, 3].
      resample: Pillow's number of the filter.
    """
    image = opened(picture)
    rows, columns = best_grid(image.height, image.width, grids, edge)
    high = rows * edge
    wide = columns * edge
    scale = min(wide / image.width, high / image.height)
    size = min(math.ceil(image.width * scale), wide), min(math.ceil(image.height * scale), high)
    fitted = np.asarray(image.resize(size, resample=resample))
    # black about it, half of it before
    canvas = np.zeros((high, wide, 3), np.uint8)
    top = (high - fitted.shape[0]) // 2
    left = (wide - fitted.shape[1]) // 2
    canvas[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    cut = canvas.reshape(rows, edge, columns, edge, 3).swapaxes(1, 2).reshape(-1, edge, edge, 3)
    whole = image.resize((edge, edge), resample=resample)
    return [whole, *(Image.fromarray(one) for one in cut)]
