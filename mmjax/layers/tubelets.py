"""Videos to tubelets and back: a reshape, so that the embedding is one matmul.

A tubelet is the same square of a few frames in a row (ViViT, https://arxiv.org/abs/2103.15691).
A convolution in three dimensions whose stride is its kernel does the same, and is slow on CPUs.

Letters: B batch, T frames, H and W pixels, C channels, P tubelets, K of them, E values of one, D
    width.
"""

from __future__ import annotations

import jax.numpy as jnp

from mmjax.typing import Array, Float, Int


def cut(video: Float[Array, "B T H W C"], frames: int, patch: int) -> Float[Array, "B P E"]:
    """Rows of `frames * patch * patch * C` values, ordered (frame, row, column, channel).

    Tubelets are in the order of time, and within a time in reading order.

    Raises:
      ValueError: frames or a side that do not divide.
    """
    batch, length, height, width, channels = video.shape
    if length % frames or height % patch or width % patch:
        raise ValueError(
            f"a clip of {length} frames of {height} x {width} pixels does not divide into tubelets "
            f"of {frames} frames of {patch} x {patch} pixels"
        )
    steps, rows, columns = length // frames, height // patch, width // patch
    x = video.reshape(batch, steps, frames, rows, patch, columns, patch, channels)
    x = x.transpose(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(batch, steps * rows * columns, frames * patch * patch * channels)


def joined(
    tubelets: Float[Array, "B P E"], frames: int, patch: int, height: int, width: int
) -> Float[Array, "B T H W C"]:
    """The inverse of `cut`, for frames of height x width pixels."""
    rows = height // patch
    columns = width // patch
    batch, count, size = tubelets.shape
    steps = count // (rows * columns)
    channels = size // (frames * patch * patch)
    x = tubelets.reshape(batch, steps, rows, columns, frames, patch, patch, channels)
    x = x.transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return x.reshape(batch, steps * frames, height, width, channels)


def chosen(x: Float[Array, "B P D"], index: Int[Array, "B K"]) -> Float[Array, "B K D"]:
    """Of each row the places that `index` names."""
    return jnp.take_along_axis(x, index[..., None], axis=1)


def others(index: Int[Array, "B K"], count: int) -> Int[Array, "B M"]:
    """The places of `count` that `index` does not name, in order; M = count - K."""
    named = (index[:, :, None] == jnp.arange(count)[None, None]).any(1)  # [B, P]
    # a stable sort puts those that are not named first, each in its order
    order = jnp.argsort(named, axis=1, stable=True)
    return order[:, : count - index.shape[1]]
