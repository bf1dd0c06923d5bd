"""Multi-head attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762).

* Masks are True where attention is allowed, `[B or 1, 1, L, S]`; `attention_mask` builds them.
* Softmax in float32 whatever the compute type.
* Separate query, key and value kernels `[D, N, H]`: sharded by heads, one table for conversion.
* Keys and values are something to hold: made once from a context (`keys_values`) and attended to
  many times (`attend`), or gathered token by token (`extend`, with layers/cache.py).
* A query without any allowed key gets the mean of all values: finite, and for padding only.

Letters: B batch, L query length, S key length, D width, N heads, K heads of keys and values
    (grouped queries, https://arxiv.org/abs/2305.13245), H head size.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers.cache import KeyValues
from mmjax.layers.dense import Dense
from mmjax.layers.rotary import Rotation, rotate
from mmjax.typing import Array, Bool, Float, Int


def attention_mask(
    valid: Bool[Array, "B S"] | None, length: int, *, causal: bool
) -> Bool[Array, "#B 1 L S"] | None:
    """Combines key padding and causality; None when everything may attend to everything.

    causal, length 3, last key of the row padded:

        1 0 0        query 0 sees key 0
        1 1 0
        1 1 0        query 2 does not see the padded key 2
    """
    mask = None if valid is None else valid[:, None, None, :]
    if causal:
        triangle = jnp.tril(jnp.ones((length, length), bool))[None, None]
        mask = triangle if mask is None else mask & triangle
    if mask is None:
        return None
    return jnp.broadcast_to(mask, (mask.shape[0], 1, length, mask.shape[-1]))


def weigh(
    query: Float[Array, "B L N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    mask: Bool[Array, "#B 1 L S"] | None,
    scale: float | None = None,
    cap: float | None = None,
) -> Float[Array, "B L N H"]:
    """Softmax of the products of queries and keys (times `scale`, H ** -0.5 by default), over
    values; `cap` keeps products within +-cap by a tanh (Gemma 2, https://arxiv.org/abs/2408.00118).
    """
    if cap is None:
        return jax.nn.dot_product_attention(query, key, value, mask=mask, scale=scale)
    batch, length, heads, size = query.shape
    grouped = query.reshape(batch, length, key.shape[2], -1, size)  # [B, L, K, N / K, H]
    logits = jnp.einsum("BLKGH,BSKH->BKGLS", grouped, key, preferred_element_type=jnp.float32)
    logits = cap * jnp.tanh(logits * ((size**-0.5 if scale is None else scale) / cap))
    if mask is not None:
        logits = jnp.where(mask[:, None], logits, jnp.finfo(jnp.float32).min)
    share = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
    return jnp.einsum("BKGLS,BSKH->BLKGH", share, value).reshape(query.shape)


class Attention(nn.Module):
    """Queries from `x`, keys and values from `context` (`x` itself by default)."""

    heads: int  # N
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    output_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    dtype: str = "float32"
    kv_heads: int | None = None  # K, each shared by N / K queries; None: N
    head_size: int | None = None  # H; None: D / N
    bias: bool = True  # of queries and values
    key_bias: bool | None = None  # None: as `bias`
    output_bias: bool = True
    scale: float | None = None  # of the products of queries and keys; None: H ** -0.5
    cap: float | None = None  # the products stay within +- this, by a tanh

    def __call__(
        self,
        x: Float[Array, "B L D"],
        mask: Bool[Array, "#B 1 L S"] | None = None,
        context: Float[Array, "B S E"] | None = None,
        rotation: Rotation | None = None,
    ) -> Float[Array, "B L D"]:
        """Attends from every position of x; `rotation`, of x's positions, turns queries and keys
        alike (self-attention)."""
        query = self._query(x, rotation)
        past = self.keys_values(x if context is None else context, rotation, x.shape[-1])
        return self._answer(query, past, mask, x.shape[-1])

    def keys_values(
        self,
        context: Float[Array, "B S E"],
        rotation: Rotation | None = None,
        width: int | None = None,
    ) -> KeyValues:
        """What `attend` reads: of a memory that is attended to again and again (cross-attention).

        Args:
          width: D of the queries, where it is not E and `head_size` is not given.
        """
        heads = self.kv_heads or self.heads
        width = width or context.shape[-1]
        key_bias = self.bias if self.key_bias is None else self.key_bias
        key = self._project("key", context, heads, width, key_bias)
        value = self._project("value", context, heads, width, self.bias)
        return KeyValues(key if rotation is None else rotate(key, rotation), value)

    def attend(
        self,
        x: Float[Array, "B L D"],
        past: KeyValues,
        mask: Bool[Array, "#B 1 L S"] | None = None,
        rotation: Rotation | None = None,
    ) -> Float[Array, "B L D"]:
        """Attends from every position of x to keys and values that are there already."""
        return self._answer(self._query(x, rotation), past, mask, x.shape[-1])

    def extend(
        self,
        x: Float[Array, "B L D"],
        past: KeyValues,
        layer: int | Int[Array, ""],
        start: int | Int[Array, ""],
        mask: Bool[Array, "#B 1 L S"],
        rotation: Rotation | None = None,
    ) -> tuple[Float[Array, "B L D"], KeyValues]:
        """Self-attention of new tokens to all that were read so far.

        Args:
          past: of all layers, [layers, B, S, K, H]; the new tokens' are written into it.
          layer: whose turn it is.
          start: the slot of the first new token.
        """
        past = past.write(self.keys_values(x, rotation), layer, start)
        return self.attend(x, past.layer(layer), mask, rotation), past

    def _query(self, x: Array, rotation: Rotation | None) -> Array:
        query = self._project("query", x, self.heads, x.shape[-1], self.bias)
        return query if rotation is None else rotate(query, rotation)

    @nn.compact
    def _project(self, name: str, source: Array, heads: int, width: int, bias: bool) -> Array:
        if self.head_size is None and width % self.heads:
            raise ValueError(f"the width {width} is not a multiple of the {self.heads} heads")
        size = (heads, self.head_size or width // self.heads)
        # few shared heads may not divide over the devices that the queries' heads lie over
        axes = ("embed", "heads" if heads == self.heads else None, "head")
        kinds = dict(bias=bias, kernel_init=self.kernel_init, dtype=self.dtype, name=name)
        return Dense(size, axes, **kinds)(source)  # [B, S, N or K, H]

    @nn.compact
    def _answer(self, query: Array, past: KeyValues, mask: Array | None, width: int) -> Array:
        out = weigh(query, past.key, past.value, mask, self.scale, self.cap)  # [B, L, N, H]
        axes = ("heads", "head", "embed")
        kinds = dict(bias=self.output_bias, kernel_init=self.output_init, dtype=self.dtype)
        return Dense((width,), axes, inputs=2, name="out", **kinds)(out)
