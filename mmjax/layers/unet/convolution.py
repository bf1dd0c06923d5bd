"""Convolutions over the places of a picture, and over time at each place.

* Over places: XLA's own convolution, which is faster on CPU than nine shifted matmuls; where a
  picture has no more places than a kernel has, one matmul from all of its places to all (26 times
  as fast as XLA's at 2 x 2 places of 128 channels, forward and backward on a CPU, 1.3 at 3 x 3).
* Over time, (3, 1, 1): one matmul of three frames beside each other.
* Cross-correlation as everywhere in the field; zeros stand about a picture, and before and behind
  a clip.

Letters: B rows (pictures, or frames one by one), T frames, H rows and W columns of a picture,
    C channels, O channels that leave.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers.dense import matmul
from mmjax.layers.unet.start import by_inputs
from mmjax.typing import Array, Float

TAPS = 3  # frames that a convolution over time sees


class Convolution(nn.Module):
    """Over places, with a bias; keeps the size of a picture, or halves it with stride 2."""

    features: int  # O
    size: int = 3  # places along each edge of the kernel
    stride: int = 1
    # zeros before and behind, along each edge; None: half the kernel's size
    padding: tuple[int, int] | None = None
    kernel_init: nn.initializers.Initializer = by_inputs
    axis: str | None = "embed"  # logical name of O
    dtype: str = "float32"  # of the product's operands

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 O"]:
        part = nn.with_logical_partitioning
        shape = (self.size, self.size, x.shape[-1], self.features)
        init = part(self.kernel_init, (None, None, None, self.axis))
        kernel = self.param("kernel", init, shape, jnp.float32)
        zeros = part(nn.initializers.zeros_init(), (self.axis,))
        bias = self.param("bias", zeros, (self.features,), jnp.float32)
        if self.size == 1 and self.stride == 1:
            y = matmul(x, kernel[0, 0], self.dtype)
        else:
            y = convolve(x, kernel, self.stride, self.padding, self.dtype)
        return y + bias.astype(x.dtype).reshape(1, 1, 1, -1)


def convolve(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "p q C O"],
    stride: int = 1,
    padding: tuple[int, int] | None = None,
    dtype: str = "float32",
) -> Float[Array, "B H2 W2 O"]:
    """Without a bias; arguments as above."""
    size = kernel.shape[0]
    edge = padding or (size // 2,) * 2
    keeps = stride == 1 and size % 2 == 1 and edge == (size // 2, size // 2)
    if keeps and max(x.shape[1:3]) <= size:
        return _among_all(x, kernel, dtype)
    return jax.lax.conv_general_dilated(
        x.astype(dtype),
        kernel.astype(dtype),
        (stride, stride),
        (edge, edge),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    ).astype(x.dtype)


def _among_all(
    x: Float[Array, "B H W C"], kernel: Float[Array, "p q C O"], dtype: str
) -> Float[Array, "B H W O"]:
    """The same from each place to each: the kernel's entries lie in one matrix [H W C, H W O]."""
    batch, height, width, channels = x.shape
    size = kernel.shape[0]
    # between places that are further apart than the kernel reaches there is nothing
    zeros = (size // 2, size // 2)
    padded = jnp.pad(kernel, (zeros, zeros, (0, 0), (0, 0)))
    rows = jnp.arange(height)
    columns = jnp.arange(width)
    down = rows[:, None] - rows[None, :] + 2 * (size // 2)  # [H, H2], from place to place
    across = columns[:, None] - columns[None, :] + 2 * (size // 2)  # [W, W2]
    apart = padded[down[:, None, :, None], across[None, :, None, :]]  # [H, W, H2, W2, C, O]
    matrix = apart.transpose(0, 1, 4, 2, 3, 5).reshape(height * width * channels, -1)
    y = matmul(x.reshape(batch, -1), matrix, dtype)
    return y.reshape(batch, height, width, -1)


class TemporalConvolution(nn.Module):
    """Over time, with a bias; keeps the number of frames.

    A causal one sees two frames before its own, and none behind it.
    """

    features: int  # O
    causal: bool = False
    kernel_init: nn.initializers.Initializer = by_inputs
    dtype: str = "float32"  # of the product's operands

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W O"]:
        part = nn.with_logical_partitioning
        init = part(self.kernel_init, (None, None, "embed"))
        kernel = self.param("kernel", init, (TAPS, x.shape[-1], self.features), jnp.float32)
        zeros = part(nn.initializers.zeros_init(), ("embed",))
        bias = self.param("bias", zeros, (self.features,), jnp.float32)
        y = over_time(x, kernel, causal=self.causal, dtype=self.dtype)
        return y + bias.astype(x.dtype).reshape(1, 1, 1, 1, -1)


def over_time(
    x: Float[Array, "B T H W C"],
    kernel: Float[Array, "3 C O"],
    *,
    causal: bool = False,
    dtype: str = "float32",
) -> Float[Array, "B T H W O"]:
    """Without a bias."""
    before = TAPS - 1 if causal else TAPS // 2
    frames = x.shape[1]
    if frames == 1:
        # a picture: the other taps see zeros alone
        return matmul(x, kernel[before], dtype)
    padding = [(0, 0)] * x.ndim
    padding[1] = (before, TAPS - 1 - before)
    padded = jnp.pad(x, padding)
    beside = jnp.concatenate([padded[:, tap : tap + frames] for tap in range(TAPS)], axis=-1)
    return matmul(beside, kernel.reshape(-1, kernel.shape[-1]), dtype)


class Halve(nn.Module):
    """A convolution with stride 2."""

    features: int
    # zeros before and behind: one on either side, or none before (autoencoders)
    padding: tuple[int, int] = (1, 1)
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 O"]:
        return Convolution(
            self.features, stride=2, padding=self.padding, dtype=self.dtype, name="convolution"
        )(x)


class Double(nn.Module):
    """Each place four times, then a convolution."""

    features: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H2 W2 O"]:
        batch, height, width, channels = x.shape
        x = jnp.broadcast_to(
            x[:, :, None, :, None], (batch, height, 2, width, 2, channels)
        ).reshape(batch, 2 * height, 2 * width, channels)
        return Convolution(self.features, dtype=self.dtype, name="convolution")(x)
