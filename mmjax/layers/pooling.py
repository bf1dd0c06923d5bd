"""From a sequence to one vector.

* `masked_mean`, `last_valid`, `first_of`: functions of a mask or of ids, without parameters.
* `AttentionPool`: SigLIP's head (https://arxiv.org/abs/2303.15343): one learned query attends, then
  an MLP; or several, each to a vector of its own.

Letters: B batch, L length, D width, Q queries.
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
    """Multi-head attention pooling: learned probes attend to the sequence, then a residual MLP."""

    config: Config  # of the transformer whose output is pooled
    probes: int | None = None  # Q; None: one, and one vector without an axis of its own

    @nn.compact
    def __call__(
        self, x: Float[Array, "B L D"], valid: Shaped[Array, "B L"] | None = None
    ) -> Float[Array, "B D"] | Float[Array, "B Q D"]:
        c = self.config
        inits = xavier_initializers()
        count = self.probes or 1
        probe = embedding("probe", self, (count, c.width), c.width**-0.5, (None, "embed"))
        probe = jnp.broadcast_to(probe[None], (x.shape[0], count, c.width)).astype(x.dtype)
        mask = attention_mask(valid, count, causal=False)
        y = Attention(c.heads, dtype=c.dtype, name="attention")(probe, mask, x)
        mlp = Mlp(c.hidden, c.activation, inits.up, inits.down, inits.mlp_bias, c.dtype, name="mlp")
        y = y + mlp(layer_norm(c, "norm")(y))
        return y[:, 0] if self.probes is None else y
