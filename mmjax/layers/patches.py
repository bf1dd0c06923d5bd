"""Images to patch rows and back: a reshape, so that the embedding is one matmul.

A convolution whose stride is its kernel does the same and is several times slower on CPUs.
Letters: B batch, P patches, C channels, p patch edge in pixels.
"""

from __future__ import annotations

from mmjax.typing import Array, Float


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
