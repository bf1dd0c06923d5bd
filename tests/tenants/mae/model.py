"""A masked autoencoder of small pictures (https://arxiv.org/abs/2111.06377)."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers import transformer
from mmjax.layers.dense import Dense
from mmjax.layers.patches import patchify
from mmjax.layers.transformer import embedding

SMALL = transformer.Config(width=32, layers=1, heads=2, hidden=64)


@dataclasses.dataclass(frozen=True)
class Config:
    image_size: int = 28  # pixels along each edge
    patch_size: int = 7  # pixels along each edge
    encoder: transformer.Config = SMALL  # sees the patches that are left
    decoder: transformer.Config = SMALL  # sees a place for every patch

    @property
    def patches(self):
        return (self.image_size // self.patch_size) ** 2


class Model(nn.Module):
    config: Config

    @nn.compact
    def __call__(self, images, order):
        """[B, H, W, 3] and the patches that are seen, [B, K] -> all patches again, [B, P, C]."""
        config = self.config
        width = config.encoder.width
        patches = patches_of(images, config.patch_size)
        axes = ("position", "embed")
        places = embedding("positions", self, (config.patches, width), 0.02, axes)
        x = Dense((width,), ("patch", "embed"), name="patch")(patches) + places[None]
        seen = jnp.take_along_axis(x, order[..., None], axis=1)
        seen = transformer.Transformer(config.encoder, name="encoder")(seen)
        hidden = embedding("hidden", self, (1, width), 0.02, (None, "embed"))
        whole = jnp.broadcast_to(hidden[None], x.shape)
        whole = jax.vmap(lambda row, at, values: row.at[at].set(values))(whole, order, seen)
        whole = transformer.Transformer(config.decoder, name="decoder")(whole + places[None])
        return Dense((patches.shape[-1],), ("embed", "patch"), name="pixels")(whole)


def patches_of(images, size):
    """[B, P, C]: the pixels of each patch."""
    patches = patchify(images, size)
    return patches.reshape(len(images), -1, patches.shape[-1])


def inputs(config):
    size = config.image_size
    return (
        jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32),
        jax.ShapeDtypeStruct((1, config.patches // 4), jnp.int32),
    )
