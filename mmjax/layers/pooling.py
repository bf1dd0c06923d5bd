"""From a sequence to one vector.

* `masked_mean`, `last_valid`, `first_of`: functions of a mask or of ids, without parameters.
* `AttentionPool`: SigLIP's head (https://arxiv.org/abs/2303.15343): one learned query attends, then
  an MLP.

Letters: B batch, L length, D width.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from mmjax.layers.attention import Attention, attention_mask
from mmjax.layers.transformer import Config, Mlp, embedding, layer_norm, xavier_initializers
from mmjax.typing import Array, Float, Int, Shaped


def masked_mean(
    x: Float[Array, "B L D"], valid: Shaped[Array, "B L"] | None
) -> Float[Array, "B D"]:
    """Mean over valid positions; a row without any gives zeros."""
    if valid is None:
        return x.mean(1)
    weights = valid.astype(x.dtype)
    return jnp.einsum("BLD,BL->BD", x, weights) / jnp.maximum(weights.sum(1), 1)[:, None]


def last_valid(x: Float[Array, "B L D"], valid: Shaped[Array, "B L"] | None) -> Float[Array, "B D"]:
    """The last valid position: the end-of-text token of a padded caption."""
    if valid is None:
        return x[:, -1]
    positions = jnp.arange(x.shape[1])[None]
    index = jnp.where(valid, positions, 0).max(1)
    return jnp.take_along_axis(x, index[:, None, None], axis=1)[:, 0]


def first_of(x: Float[Array, "B L D"], ids: Int[Array, "B L"], end: int) -> Float[Array, "B D"]:
    """The first position of the id `end`, or of the row's highest id for -1."""
    index = jnp.argmax(ids if end == -1 else ids == end, axis=1)
    return jnp.take_along_axis(x, index[:, None, None], axis=1)[:, 0]


class AttentionPool(nn.Module):
    """Multi-head attention pooling: a learned probe attends to the sequence, then a residual
    MLP."""

    config: Config  # of the transformer whose output is pooled

    @nn.compact
    def __call__(
        self, x: Float[Array, "B L D"], valid: Shaped[Array, "B L"] | None = None
    ) -> Float[Array, "B D"]:
        c = self.config
        inits = xavier_initializers()
        probe = embedding("probe", self, (1, c.width), c.width**-0.5, (None, "embed"))
        probe = jnp.broadcast_to(probe[None], (x.shape[0], 1, c.width)).astype(x.dtype)
        mask = attention_mask(valid, 1, causal=False)
        y = Attention(c.heads, dtype=c.dtype, name="attention")(probe, mask, x)
        mlp = Mlp(c.hidden, c.activation, inits.up, inits.down, inits.mlp_bias, c.dtype, name="mlp")
        return (y + mlp(layer_norm(c, "norm")(y)))[:, 0]
