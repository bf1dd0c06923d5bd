"""Images to patch rows and back: a reshape, so that the embedding is one matmul.

A convolution whose stride is its kernel does the same and is several times slower on CPUs.
Letters: B batch, P patches, C channels, p patch edge in pixels, S stride.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjax.typing import Array, Bool, Float, Int


class Patches(NamedTuple):
    """Pictures of any shape (NaFlex, https://arxiv.org/abs/2502.14786), cut in reading order."""

    values: Float[Array, "B P E"]  # normalised pixels, ordered (row, column, channel)
    shapes: Int[Array, "B 2"]  # rows and columns of patches
    mask: Bool[Array, "B P"]  # True: a patch; False: there is none


def patchify(images: Float[Array, "B H W C"], patch: int) -> Float[Array, "B P E"]:
    """Rows of `patch * patch * C` values, patches in reading order, values ordered (row, column,
    channel).

    Raises:
      ValueError: a side that is not a multiple of the patch.
    """
    batch, height, width, channels = images.shape
    if height % patch or width % patch:
        raise ValueError(
            f"an image of {height} x {width} pixels does not divide into patches of {patch} pixels"
        )
    rows, columns = height // patch, width // patch
    x = images.reshape(batch, rows, patch, columns, patch, channels)
    return x.swapaxes(2, 3).reshape(batch, rows * columns, patch * patch * channels)


def unpatchify(
    patches: Float[Array, "B P E"], patch: int, height: int, width: int
) -> Float[Array, "B H W C"]:
    """The inverse of `patchify`."""
    batch, _, size = patches.shape
    x = patches.reshape(batch, height // patch, width // patch, patch, patch, size // patch**2)
    return x.swapaxes(2, 3).reshape(batch, height, width, size // patch**2)


def overlapping(x: Float[Array, "B H W C"], stride: int) -> Float[Array, "B I J E"]:
    """Windows about each block of S x S pixels that overlap by half a block; zeros outside.

    A row of `K * K * C` values per block, K = S + S // 2, ordered (row, column, channel): a
    convolution of kernel K and stride S is then a matmul. S=2 is the usual 3 x 3 convolution.

    Raises:
      ValueError: a side that is not a multiple of the stride.
    """
    height, width = x.shape[1:3]
    if height % stride or width % stride:
        raise ValueError(f"{height} x {width} pixels do not divide into blocks of {stride} pixels")
    more = stride // 2
    edge = (more - more // 2, more // 2)
    return windows(jnp.pad(x, ((0, 0), edge, edge, (0, 0))), stride + more, stride)


def windows(x: Float[Array, "B H W C"], size: int, *strides: int) -> Float[Array, "B I J E"]:
    """Squares of K x K pixels, one every so many rows and columns; what fills none is left out.

    A row of `K * K * C` values each, ordered (row, column, channel): a convolution of kernel K
    without padding is then a matmul.

    Args:
      size: K.
      strides: of rows and of columns, or one for both.
    """
    for axis, stride in ((2, strides[-1]), (1, strides[0])):  # two short rows of slices, not K * K
        last = x.shape[axis] - size + 1  # up to the last window's first pixel
        taken = (jax.lax.slice_in_dim(x, i, i + last, stride, axis) for i in range(size))
        x = jnp.concatenate(list(taken), axis=-1)
    return x
