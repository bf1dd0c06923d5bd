"""CLIP's residual network: three stem convolutions, averages before strides, attention pooling.

ModifiedResNet of https://arxiv.org/abs/2103.00020.

* Its batch norms are frozen: mean and variance are those of the checkpoint, among the parameters
  and without a gradient, so that a row never depends on the others of its batch.
* Hidden states differ in shape from stage to stage: `apply(..., mutable=["intermediates"])` gives
  what leaves each as "stage_0", "stage_1" and on, [B, H, W, C], under the path of the tower.
* What is pooled is the attention of the mean of all places to every place.

Letters: B batch, H rows, W columns, C channels, P places, N heads, E embedding size.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers.attention import dot_product_attention
from mmjax.layers.dense import Dense
from mmjax.layers.transformer import embedding
from mmjax.typing import Array, Float, Positive

EXPANSION = 4  # a block's output has so many times its width


@dataclasses.dataclass(frozen=True)
class Config:
    image_size: Positive = 224  # pixels along each edge; a multiple of 32
    channels: Positive = 3  # of a pixel
    stages: tuple[int, ...] = (3, 4, 6, 3)  # blocks of each stage; all but the first halve
    width: Positive = 64  # channels after the stem; doubled from stage to stage
    heads: Positive = 32  # N, of the attention that pools
    embedding: Positive = 1024  # E
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the operands of matmuls

    @property
    def features(self) -> int:
        """Channels that leave the last stage."""
        return self.width * 2 ** (len(self.stages) - 1) * EXPANSION

    @property
    def grid(self) -> int:
        """Places along each edge after the last stage."""
        return self.image_size // (2 ** (len(self.stages) + 1))


class Output(NamedTuple):
    """What the tower returns."""

    tokens: Float[Array, "B P C"]  # places after the last stage
    pooled: Float[Array, "B E"]


class Convolution(nn.Module):
    """Without bias; zeros about the picture keep its size (halved by stride 2)."""

    features: int
    size: int = 1  # pixels along the kernel's edge
    stride: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B I J D"]:
        init = nn.with_logical_partitioning(
            nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal"), (None,) * 4
        )
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", init, shape, jnp.float32)
        edge = (self.size // 2, self.size // 2)
        return jax.lax.conv_general_dilated(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            (self.stride, self.stride),
            (edge, edge),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ).astype(x.dtype)


class FrozenNorm(nn.Module):
    """Batch norm with the statistics of its checkpoint."""

    epsilon: float = 1e-5
    mean: float = 0.0  # that a model without a checkpoint has
    variance: float = 1.0  # likewise

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        def own(name: str, start: nn.initializers.Initializer) -> Array:
            init = nn.with_logical_partitioning(start, (None,))
            return self.param(name, init, x.shape[-1:], jnp.float32)

        ones = nn.initializers.ones_init()
        zeros = nn.initializers.zeros_init()
        constant = nn.initializers.constant
        mean = jax.lax.stop_gradient(own("mean", constant(self.mean)))
        variance = jax.lax.stop_gradient(own("var", constant(self.variance)))
        factor = own("scale", ones) * jax.lax.rsqrt(variance + self.epsilon)
        offset = own("bias", zeros) - mean * factor
        shape = (1, 1, 1, -1)
        return x * factor.reshape(shape) + offset.reshape(shape)


def average(x: Float[Array, "B H W C"], stride: int) -> Float[Array, "B I J C"]:
    """Means over squares of stride x stride places."""
    if stride == 1:
        return x
    batch, height, width, channels = x.shape
    rows = height // stride
    columns = width // stride
    x = x[:, : rows * stride, : columns * stride]
    return x.reshape(batch, rows, stride, columns, stride, channels).mean((2, 4))


class Bottleneck(nn.Module):
    """x + narrow, 3 x 3, wide; a halving block averages on both ways."""

    width: int
    stride: int
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B I J D"]:
        wide = self.width * EXPANSION
        conv = lambda i, *a: Convolution(*a, dtype=self.dtype, name=f"conv{i}")  # noqa: E731
        norm = lambda i: FrozenNorm(name=f"norm{i}")  # noqa: E731
        y = nn.relu(norm(1)(conv(1, self.width)(x)))
        y = nn.relu(norm(2)(conv(2, self.width, 3)(y)))
        y = norm(3)(conv(3, wide)(average(y, self.stride)))
        if self.stride > 1 or x.shape[-1] != wide:
            x = Convolution(wide, dtype=self.dtype, name="shortcut")(average(x, self.stride))
            x = FrozenNorm(name="shortcut_norm")(x)
        return nn.relu(x + y)


class Model(nn.Module):
    """Image tower."""

    config: Config

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], *, train: bool = False) -> Output:
        """Normalised pixels -> places and a pooled vector.

        Raises:
          ValueError: images of another size than the config's.
        """
        c = self.config
        if images.shape[1:] != (c.image_size, c.image_size, c.channels):
            raise ValueError(
                f"the model was built for images of {c.image_size} x {c.image_size} x "
                f"{c.channels}, got {' x '.join(map(str, images.shape[1:]))}"
            )
        x = images
        for i, (width, stride) in enumerate([(c.width // 2, 2), (c.width // 2, 1), (c.width, 1)]):
            x = Convolution(width, 3, stride, c.dtype, name=f"stem_{i}")(x)
            x = nn.relu(FrozenNorm(name=f"stem_norm_{i}")(x))
        x = average(x, 2)
        for stage, blocks in enumerate(c.stages):
            for i in range(blocks):
                stride = 2 if stage and not i else 1
                name = f"stage_{stage}_block_{i}"
                x = Bottleneck(c.width * 2**stage, stride, c.dtype, name=name)(x)
            self.sow("intermediates", f"stage_{stage}", x)
        tokens = x.reshape(len(x), -1, c.features)
        return Output(tokens, self._pool(tokens))

    def _pool(self, x: Float[Array, "B P C"]) -> Float[Array, "B E"]:
        c = self.config
        size = c.features // c.heads
        shape = (c.grid**2 + 1, c.features)
        positions = embedding("positions", self, shape, c.features**-0.5, ("position", "embed"))
        x = jnp.concatenate([x.mean(1, keepdims=True), x], axis=1) + positions[None].astype(x.dtype)
        init = nn.initializers.normal(c.features**-0.5)

        def by_heads(name: str) -> Dense:
            axes = ("embed", "heads", "head")
            return Dense((c.heads, size), axes, kernel_init=init, dtype=c.dtype, name=name)

        query = by_heads("query")(x[:, :1])
        out = dot_product_attention(query, by_heads("key")(x), by_heads("value")(x))
        axes = ("heads", "head", "joint")
        pooled = Dense((c.embedding,), axes, inputs=2, kernel_init=init, dtype=c.dtype, name="out")(
            out
        )
        return pooled[:, 0]


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    shape = (1, config.image_size, config.image_size, config.channels)
    return (jax.ShapeDtypeStruct(shape, jnp.float32),)


VARIANTS = {
    "RN50": Config(),
    "RN101": Config(stages=(3, 4, 23, 3), embedding=512),
    "RN50x4": Config(288, stages=(4, 6, 10, 6), width=80, heads=40, embedding=640),
    "RN50x16": Config(384, stages=(6, 8, 18, 8), width=96, heads=48, embedding=768),
    "RN50x64": Config(448, stages=(3, 15, 36, 10), width=128, heads=64, embedding=1024),
}
