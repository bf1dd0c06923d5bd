"""Multi-head attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762).

* Masks are True where attention is allowed, `[B or 1, 1, L, S]`; `attention_mask` builds them.
* Softmax in float32 whatever the compute type.
* Separate query, key and value kernels `[D, N, H]`: sharded by heads, one table for conversion.
* Keys and values may be computed once from a context (`keys_values`) and attended to many times, or
  be gathered token by token (`extend`, with layers/cache.py).
* A query without any allowed key gets the mean of all values: finite, and for padding only.
* Weights on request: `apply(..., mutable=["attention_weights"])` gives each layer's, [B, N, L, S]
  (stacked over the layers where the blocks are), under the path of the attention, "weights".

Letters: B batch, L query length, S key length, D width, N heads, K heads of keys and values
    (grouped queries, https://arxiv.org/abs/2305.13245), H head size, E width of a context.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers.cache import ByHead, KeyValues
from mmjax.layers.dense import Dense
from mmjax.layers.placement import on_one_cpu
from mmjax.layers.places import as_mask
from mmjax.layers.rotary import Rotation, rotate
from mmjax.typing import Array, Bool, Float, Int, Shaped

WEIGHTS = "attention_weights"  # the collection that weights are sown into
# Keys from which on XLA's CPU backend is 2 to 6 times faster at one row and head at a time: its
# batched products run at a fifth of the rate of plain ones.
LONG_ON_CPU = 512
PIECE = 768 * 1500  # products of queries and keys at a time there, which stay in a core's cache


def attention_mask(
    valid: Shaped[Array, "B S"] | None, length: int, *, causal: bool
) -> Bool[Array, "#B 1 L S"] | None:
    """Combines key padding and causality; None when everything may attend to everything.

    causal, length 3, last key of the row padded:

        1 0 0        query 0 sees key 0
        1 1 0
        1 1 0        query 2 does not see the padded key 2
    """
    mask = None if valid is None else as_mask(valid)[:, None, None, :]
    if causal:
        triangle = jnp.tril(jnp.ones((length, length), bool))[None, None]
        mask = triangle if mask is None else mask & triangle
    if mask is None:
        return None
    return jnp.broadcast_to(mask, (mask.shape[0], 1, length, mask.shape[-1]))


def attention_weights(
    query: Float[Array, "B L N H"],
    key: Float[Array, "B S K H"],
    mask: Bool[Array, "#B 1 L S"] | None = None,
    scale: float | None = None,
    cap: float | None = None,
    offset: Float[Array, "#B N L S"] | None = None,
) -> Float[Array, "B N L S"]:
    """Softmax of the products of queries and keys, float32; arguments as below."""
    batch, length, heads, size = query.shape
    grouped = query.reshape(batch, length, key.shape[2], -1, size)  # [B, L, K, N / K, H]
    logits = jnp.einsum("BLKGH,BSKH->BKGLS", grouped, key, preferred_element_type=jnp.float32)
    logits = logits.reshape(batch, heads, length, key.shape[1])
    return _softmax(logits, mask, _scale(scale, size), cap, offset)


def dot_product_attention(
    query: Float[Array, "B L N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    mask: Bool[Array, "#B 1 L S"] | None = None,
    scale: float | None = None,
    cap: float | None = None,
    offset: Float[Array, "#B N L S"] | None = None,
) -> Float[Array, "B L N H"]:
    """Values, averaged by the softmax of the products of queries and keys.

    Args:
      scale: factor of the products; None: H ** -0.5.
      cap: keeps products within +-cap by a tanh (Gemma 2, https://arxiv.org/abs/2408.00118).
      offset: added to the scaled products (Swin, https://arxiv.org/abs/2103.14030).
    """
    if key.shape[1] >= LONG_ON_CPU and on_one_cpu() and offset is None:
        return _by_row_and_head(query, key, value, mask, _scale(scale, query.shape[-1]), cap)
    if cap is None:
        return jax.nn.dot_product_attention(query, key, value, offset, mask, scale=scale)
    weights = attention_weights(query, key, mask, scale, cap, offset).astype(value.dtype)
    batch, heads, length, keys = weights.shape
    weights = weights.reshape(batch, key.shape[2], -1, length, keys)  # [B, K, N / K, L, S]
    return jnp.einsum("BKGLS,BSKH->BLKGH", weights, value).reshape(query.shape)


def by_head_weights(
    query: Float[Array, "B L N H"],
    context: ByHead,
    mask: Bool[Array, "#B 1 L S"] | None = None,
    scale: float | None = None,
    cap: float | None = None,
) -> Float[Array, "B N L S"]:
    """`attention_weights` to keys that lie head by head."""
    batch, length, heads, size = query.shape
    shared = context.key.shape[1]
    grouped = query.reshape(batch, length, shared, -1, size)  # [B, L, K, N / K, H]
    logits = jnp.einsum(
        "BLKGH,BKSH->BKGLS", grouped, context.key, preferred_element_type=jnp.float32
    )
    logits = logits.reshape(batch, heads, length, -1)
    return _softmax(logits, mask, _scale(scale, size), cap)


def _averaged(weights: Float[Array, "B N L S"], value: Float[Array, "B K S H"]) -> Array:
    """Values by head, averaged by weights, [B, L, N, H]."""
    batch, heads, length, keys = weights.shape
    weights = weights.reshape(batch, value.shape[1], -1, length, keys)
    out = jnp.einsum("BKGLS,BKSH->BLKGH", weights, value)
    return out.reshape(batch, length, heads, -1)


def _scale(scale: float | None, size: int) -> float:
    return size**-0.5 if scale is None else scale


def _softmax(
    logits: Array,
    mask: Array | None,
    scale: float,
    cap: float | None,
    offset: Array | None = None,
) -> Array:
    """Over the last axis; `mask` and `offset` have as many axes as the logits, or None."""
    return jax.nn.softmax(_limited(logits, mask, scale, cap, offset), axis=-1)


def _limited(
    logits: Array,
    mask: Array | None,
    scale: float,
    cap: float | None,
    offset: Array | None = None,
) -> Array:
    """What the softmax is taken of."""
    logits = logits * scale
    if cap is not None:
        logits = cap * jnp.tanh(logits / cap)
    if offset is not None:
        logits = logits + offset
    if mask is not None:
        logits = jnp.where(mask, logits, jnp.finfo(jnp.float32).min)
    return logits


def _pieces(length: int, keys: int) -> int:
    """Equal parts of the queries, each with PIECE products at most; 1 where there are none."""
    fitting = (
        count for count in range(1, 9) if length % count == 0 and length // count * keys <= PIECE
    )
    return next(fitting, 1)


def _by_row_and_head(
    query: Array, key: Array, value: Array, mask: Array | None, scale: float, cap: float | None
) -> Array:
    """The same, one row and one head after the other; the backward pass computes weights again."""
    batch, length, heads, size = query.shape
    pieces = _pieces(length, key.shape[1])

    def apart(x: Array) -> Array:
        """[B, L, N or K, H] -> [B * N, L, H]."""
        x = jnp.repeat(x, heads // x.shape[2], axis=2)
        return x.transpose(0, 2, 1, 3).reshape(batch * heads, x.shape[1], size)

    @jax.checkpoint
    def attend(index: Array, query: Array, key: Array, value: Array) -> Array:
        row_mask = None
        if mask is not None:
            row = index // heads if mask.shape[0] > 1 else 0
            row_mask = mask[row, 0].reshape(pieces, length // pieces, -1)

        def piece(query: Array, allowed: Array | None) -> Array:
            logits = jnp.matmul(query, key.T, preferred_element_type=jnp.float32)
            logits = _limited(logits, allowed, scale, cap)
            # the softmax, but for its division, which is cheaper behind the product
            largest = jax.lax.stop_gradient(logits.max(-1, keepdims=True))
            weights = jnp.exp(logits - largest)
            total = weights.sum(-1, keepdims=True)
            weights = weights.astype(value.dtype)
            out = jnp.matmul(weights, value, preferred_element_type=jnp.float32)
            return (out / total).astype(value.dtype)

        inputs = (query.reshape(pieces, -1, size), row_mask)
        return jax.lax.map(lambda each: piece(*each), inputs).reshape(length, size)

    inputs = (jnp.arange(batch * heads), apart(query), apart(key), apart(value))
    out = jax.lax.map(lambda row_and_head: attend(*row_and_head), inputs)
    return out.reshape(batch, heads, length, size).transpose(0, 2, 1, 3)


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
        context: Float[Array, "B S E"] | KeyValues | ByHead | None = None,
        rotation: Rotation | None = None,
        divisor: Float[Array, ""] | None = None,
        offset: Float[Array, "#B N L S"] | None = None,
    ) -> Float[Array, "B L D"]:
        """Attends from every position of x.

        Args:
          context: hidden states, or what `keys_values` made of them, in either order.
          rotation: of x's positions; turns queries, and keys that are made of x.
          divisor: of the products of queries and keys, where it differs from layer to layer.
          offset: added to the scaled products; of a context in the usual order alone.
        """
        query = self._project("query", x, self.heads, x.shape[-1], self.bias)
        if rotation is not None:
            query = rotate(query, rotation)
        if not isinstance(context, KeyValues | ByHead):
            context = self.keys_values(x if context is None else context, rotation, x.shape[-1])
        return self._attend(query, context, mask, divisor, offset, x.shape[-1])

    def keys_values(
        self,
        context: Float[Array, "B S E"],
        rotation: Rotation | None = None,
        width: int | None = None,
    ) -> KeyValues:
        """Keys and values of a context, to be attended to again and again.

        Args:
          width: D of the queries, where it is not E and `head_size` is not given.
        """
        heads = self.kv_heads or self.heads
        width = width or context.shape[-1]
        key_bias = self.bias if self.key_bias is None else self.key_bias
        key = self._project("key", context, heads, width, key_bias)
        value = self._project("value", context, heads, width, self.bias)
        if rotation is not None:
            key = rotate(key, rotation)
        return KeyValues(key, value)

    def extend(
        self,
        x: Float[Array, "B L D"],
        past: KeyValues,
        layer: int | Int[Array, ""],
        start: int | Int[Array, ""],
        mask: Bool[Array, "#B 1 L S"],
        rotation: Rotation | None = None,
        divisor: Float[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B L D"], KeyValues]:
        """Self-attention of new tokens to all that were read so far.

        Args:
          past: of all layers, [layers, B, S, K, H]; the new tokens' are written into it.
          layer: whose turn it is.
          start: the slot of the first new token.
        """
        past = past.write(self.keys_values(x, rotation), layer, start)
        return self(x, mask, past.layer(layer), rotation, divisor), past

    @nn.compact
    def _project(self, name: str, source: Array, heads: int, width: int, bias: bool) -> Array:
        if self.head_size is None and width % self.heads:
            raise ConfigError(f"the width {width} is not a multiple of the {self.heads} heads")
        size = (heads, self.head_size or width // self.heads)
        # few shared heads may not divide over the devices that the queries' heads lie over
        axes = ("embed", "heads" if heads == self.heads else None, "head")
        dense = Dense(
            size, axes, bias=bias, kernel_init=self.kernel_init, dtype=self.dtype, name=name
        )
        return dense(source)  # [B, S, N or K, H]

    @nn.compact
    def _attend(
        self,
        query: Array,
        past: KeyValues | ByHead,
        mask: Array | None,
        divisor: Array | None,
        offset: Array | None,
        width: int,
    ) -> Array:
        if divisor is not None:
            query = query / divisor.astype(query.dtype)
        # a cache may be kept in a narrower type
        past = jax.tree.map(lambda x: x.astype(query.dtype), past)
        wanted = self.is_mutable_collection(WEIGHTS) and not self.is_initializing()
        rules = (mask, self.scale, self.cap)
        if isinstance(past, ByHead):
            weights = by_head_weights(query, past, *rules)
            out = _averaged(weights.astype(query.dtype), past.value)
        else:
            weights = attention_weights(query, past.key, *rules, offset) if wanted else None
            out = dot_product_attention(query, *past, *rules, offset)  # [B, L, N, H]
        if wanted:
            self.sow(WEIGHTS, "weights", weights)
        dense = Dense(
            (width,), ("heads", "head", "embed"), inputs=2, bias=self.output_bias,
            kernel_init=self.output_init, dtype=self.dtype, name="out",
        )  # fmt: skip
        return dense(out)
