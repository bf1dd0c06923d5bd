"""What noise a small picture holds, by its class and the time."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers.dense import Dense
from mmjax.layers.transformer import embedding


@dataclasses.dataclass(frozen=True)
class Config:
    image_size: int = 14  # pixels along each edge
    classes: int = 10
    width: int = 64  # of the hidden layers


class Model(nn.Module):
    config: Config

    @nn.compact
    def __call__(self, images, time, label):
        """[B, H, W, 3] at times [B] in 0..1 of classes [B] (`classes`: unknown) -> the noise."""
        config = self.config
        rows = (config.classes + 1, config.width)
        table = embedding("classes", self, rows, 0.02, (None, "embed"))
        angles = time[:, None] * jnp.pi * jnp.arange(1, 9)[None]
        clock = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], 1)
        flat = images.reshape(len(images), -1)
        x = Dense((config.width,), ("patch", "embed"), name="inside")(flat)
        x = x + Dense((config.width,), ("patch", "embed"), name="clock")(clock) + table[label]
        x = nn.gelu(Dense((config.width,), ("embed", "mlp"), name="middle")(nn.gelu(x)))
        return Dense(images.shape[1:], ("mlp", None, None, None), name="outside")(x)


def inputs(config):
    size = config.image_size
    return (
        jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32),
        jax.ShapeDtypeStruct((1,), jnp.float32),
        jax.ShapeDtypeStruct((1,), jnp.int32),
    )
