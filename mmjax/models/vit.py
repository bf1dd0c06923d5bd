"""Vision transformer: patches, learned positions, pre-norm blocks, one pooled vector.

Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929. What differs between its users is a field
here:

* CLIP pools the class token and normalises before the first block; SigLIP pools by attention and
  has neither.
* FLIP's patch dropout (https://arxiv.org/abs/2212.00794): in training only a random share of
  patches is encoded.
* The patch embedding is a matmul on reshaped pixels.

Letters: B batch, P patches, L sequence (patches, and a class token where there is one), D width.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers import pooling, transformer
from mmjax.layers.dense import Dense
from mmjax.layers.patches import patchify
from mmjax.layers.transformer import embedding, layer_norm
from mmjax.typing import Array, Float


@dataclasses.dataclass(frozen=True)
class Config:
    image_size: int = 224  # pixels along each edge
    patch_size: int = 16  # pixels along each edge
    channels: int = 3  # of a pixel
    transformer: transformer.Config = transformer.Config()  # the stack of blocks
    pool: Literal["class", "mean", "attention"] = "class"  # from tokens to one vector
    patch_bias: bool = True  # CLIP's patch embedding has none
    pre_norm: bool = False  # LayerNorm before the first block, as in CLIP
    patch_dropout: float = 0.0  # share of patches left out in training

    @property
    def patches(self) -> int:
        return (self.image_size // self.patch_size) ** 2


class Output(NamedTuple):
    """What the tower returns."""

    tokens: Float[Array, "B L D"]  # after the last block and norm
    pooled: Float[Array, "B D"]


def drop_patches(x: Float[Array, "B P D"], share: float, key: jax.Array) -> Float[Array, "B Q D"]:
    """Keeps a random `1 - share` of each row's patches, in order."""
    kept = max(1, round(x.shape[1] * (1 - share)))
    order = jnp.argsort(jax.random.uniform(key, x.shape[:2]), axis=1)
    return jnp.take_along_axis(x, jnp.sort(order[:, :kept], axis=1)[..., None], axis=1)


class Model(nn.Module):
    """Image tower."""

    config: Config

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], *, train: bool = False) -> Output:
        """Normalised pixels -> tokens and a pooled vector.

        Raises:
          ValueError: images of another size than the config's.
        """
        c, t = self.config, self.config.transformer
        if images.shape[1:] != (c.image_size, c.image_size, c.channels):
            raise ValueError(
                f"the model was built for images of {c.image_size} x {c.image_size} x "
                f"{c.channels}, got {' x '.join(map(str, images.shape[1:]))}"
            )
        init = nn.initializers.normal(0.02) if c.pre_norm else nn.initializers.lecun_normal()
        kinds = dict(bias=c.patch_bias, kernel_init=init, dtype=t.dtype)
        x = Dense((t.width,), ("patch", "embed"), name="patch_embedding", **kinds)(
            patchify(images.astype(t.stream), c.patch_size)
        )
        with_class = c.pool == "class"
        positions = embedding(
            "positions",
            self,
            (c.patches + with_class, t.width),
            t.width**-0.5,
            ("position", "embed"),
        ).astype(x.dtype)
        x = x + positions[None, with_class:]
        if train and c.patch_dropout > 0:
            x = drop_patches(x, c.patch_dropout, self.make_rng("dropout"))
        if with_class:
            token = embedding(
                "class_token", self, (1, t.width), t.width**-0.5, (None, "embed")
            ).astype(x.dtype)
            token = jnp.broadcast_to(token + positions[:1], (x.shape[0], 1, t.width))
            x = jnp.concatenate([token, x], axis=1)
        if c.pre_norm:
            x = layer_norm(t, "pre_norm")(x)
        x = transformer.Transformer(t, train, name="transformer")(x)
        tokens = layer_norm(t, "norm")(x)
        if c.pool == "class":
            pooled = tokens[:, 0]
        elif c.pool == "mean":
            pooled = pooling.masked_mean(tokens, None)
        else:
            pooled = pooling.AttentionPool(t, name="pool")(tokens)
        return Output(tokens, pooled)


def _size(width: int, layers: int, heads: int, hidden: int, **fields) -> transformer.Config:
    return transformer.Config(width=width, layers=layers, heads=heads, hidden=hidden, **fields)


SIZES = {  # the transformer of each size; So400m: https://arxiv.org/abs/2305.13035
    "tiny": _size(192, 4, 3, 768),
    "S": _size(384, 12, 6, 1536),
    "B": _size(768, 12, 12, 3072),
    "L": _size(1024, 24, 16, 4096),
    "H": _size(1280, 32, 16, 5120),
    "So400m": _size(1152, 27, 16, 4304),
}
VARIANTS = {
    f"{size}/{patch}": Config(patch_size=patch, transformer=SIZES[size])
    for size, patch in [
        ("tiny", 16),
        ("S", 16),
        ("B", 32),
        ("B", 16),
        ("L", 16),
        ("L", 14),
        ("H", 14),
        ("So400m", 14),
    ]
}
