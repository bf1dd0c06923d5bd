"""Learned positions of one grid of patches, for another grid; and positions that are not learned.

* `bicubic` is what DINO (https://arxiv.org/abs/2104.14294) and its followers do for images of
  another size; numbers as in torch's `interpolate`: a = -0.75, edges repeated, no antialiasing.
* `bilinear` is NaFlex's (https://arxiv.org/abs/2502.14786): antialiased, a grid of its own for each
  row of a batch.
* Both are matrices over the stored grid, so that resizing is a matmul.
* `sines`: those of the first transformer (https://arxiv.org/abs/1706.03762), sine and cosine in
  turn.
* `stretched` is for frames of sound, of which each is made of four.

Letters: B batch, P patches, I stored grid rows or columns, O those wanted, D width, T frames, S
    those wanted, M mel bins.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from mmjax.typing import Array, Float, Int


def bicubic(positions: Float[Array, "R C D"], rows: int, columns: int) -> Float[Array, "P D"]:
    """A grid of positions resized to rows x columns, in reading order."""
    if positions.shape[:2] != (rows, columns):
        down, across = _cubic(positions.shape[0], rows), _cubic(positions.shape[1], columns)
        positions = jnp.einsum("OI,PJ,IJD->OPD", down, across, positions)
    return positions.reshape(rows * columns, -1)


def sines(count: int, width: int) -> Float[np.ndarray, "P D"]:
    """Of places 0, 1, ... along one line; each pair of entries has a period of its own."""
    pair = np.arange(width) // 2
    angle = np.arange(count)[:, None] / np.power(10_000.0, 2 * pair / width)[None]
    even = np.arange(width) % 2 == 0
    return np.where(even[None], np.sin(angle), np.cos(angle)).astype(np.float32)


def _cubic(stored: int, wanted: int) -> np.ndarray:
    """Weights [wanted, stored] of Keys' cubic kernel with a = -0.75."""
    center = (np.arange(wanted) + 0.5) * stored / wanted - 0.5
    out = np.zeros((wanted, stored))
    for index, weight in _cubic_taps(center, stored):
        np.add.at(out, (np.arange(wanted), index), weight)
    return out.astype(np.float32)


def _cubic_taps(center: np.ndarray, stored: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The four places that each wanted one is made of, and their weights."""
    a = -0.75
    first = np.floor(center).astype(int)
    taps = []
    for offset in (-1, 0, 1, 2):
        x = np.abs(center - first - offset)
        near = (a + 2) * x**3 - (a + 3) * x**2 + 1
        far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
        taps.append((np.clip(first + offset, 0, stored - 1), np.where(x <= 1, near, far)))
    return taps


def stretched(x: Float[Array, "B T M"], length: int) -> Float[Array, "B S M"]:
    """Frames resized to so many by the same cubic, the first and the last of both on each other
    (torch's `align_corners`)."""
    count = x.shape[1]
    if count == length:
        return x
    center = np.arange(length) * (count - 1) / (length - 1)
    taps = _cubic_taps(center, count)
    return sum(x[:, index] * weight.astype(np.float32)[None, :, None] for index, weight in taps)


def bilinear(
    positions: Float[Array, "R C D"], shapes: Int[Array, "B 2"], length: int
) -> Float[Array, "B P D"]:
    """For each row of a batch, a grid of its own in reading order.

    Args:
      shapes: rows and columns of each grid.
      length: P; places behind a grid's last repeat its first.
    """
    rows, columns = shapes[:, :1], shapes[:, 1:]
    place = jnp.arange(length)[None]
    place = jnp.where(place < rows * columns, place, 0)
    down = _triangle(place // columns, positions.shape[0], rows)  # [B, P, I]
    across = _triangle(place % columns, positions.shape[1], columns)
    weights = (down[..., None] * across[..., None, :]).reshape(*place.shape, -1)
    flat = positions.reshape(-1, positions.shape[-1])
    return jnp.einsum("BPI,ID->BPD", weights, flat)


def _triangle(
    place: Int[Array, "B P"], stored: int, wanted: Int[Array, "B 1"]
) -> Float[Array, "B P I"]:
    """Weights of the triangle kernel, as wide as a wanted cell, at least as a stored one."""
    scale = (stored / wanted)[..., None]  # [B, 1, 1]
    center = (place[..., None] + 0.5) * scale
    x = (jnp.arange(stored)[None, None] + 0.5 - center) / jnp.maximum(scale, 1.0)
    weights = jnp.maximum(0.0, 1 - jnp.abs(x))
    return weights / weights.sum(-1, keepdims=True)
