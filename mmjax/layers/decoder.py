"""A stack of decoder blocks with RMSNorm, rotary positions and a gated MLP, scanned over layers.

* What Llama (https://arxiv.org/abs/2302.13971), Qwen2 (https://arxiv.org/abs/2407.10671) and Gemma
  (https://arxiv.org/abs/2403.08295, https://arxiv.org/abs/2408.00118) have in common, and where
  they differ.
* Layers may see a window of the nearest tokens only, in a pattern that repeats over the stack.
* Stored and looked into as layers/stack.py says. RMSNorm and softmax work in float32.

Letters: B batch, L length, D width, F hidden, N heads, K heads of keys and values, H head size.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers import rotary
from mmjax.layers.attention import Attention
from mmjax.layers.cache import Cache, KeyValues, empty
from mmjax.layers.dense import Dense
from mmjax.layers.placement import rows_apart
from mmjax.layers.places import Places
from mmjax.layers.stack import output_of_block, run_blocks, sow_hidden_states
from mmjax.layers.transformer import ACTIVATIONS
from mmjax.typing import Array, Float, Int, Natural, Positive

EVERYTHING = 2**30  # a window that no sequence fills


@dataclasses.dataclass(frozen=True)
class Config:
    width: Positive = 256  # D
    layers: Natural = 4  # blocks
    heads: Positive = 4  # N
    kv_heads: Positive = 2  # K, each shared by N / K queries
    head_size: Positive = 64  # H, an even number
    hidden: Positive = 704  # F
    activation: Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "silu"] = "silu"  # of the gate
    norm_epsilon: float = 1e-6  # of RMSNorm
    norm_offset: float = 0.0  # added to a norm's stored scale: 1 for Gemma, whose scales are near 0
    post_norms: bool = False  # norms behind attention and MLP too, before the sum (Gemma 2)
    qkv_bias: bool = False  # of queries, keys and values
    output_bias: bool = False  # of attention's output
    mlp_bias: bool = False  # of the three kernels of the MLP
    rotary: rotary.Config = rotary.Config()  # positions
    attention_scale: float | None = None  # of the products of queries and keys; None: H ** -0.5
    attention_cap: float | None = None  # the products stay within +- this, by a tanh
    # how many tokens a layer sees, its own included; 0: all. Repeats over the layers; (): all, all
    windows: tuple[int, ...] = ()
    remat: Literal["none", "dots", "full"] = "none"  # what backward recomputes
    unroll: Positive = 1  # layers per iteration of the scan
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the operands of matmuls
    stream: Literal["float32", "bfloat16"] = "float32"  # of the residual stream: what is stored


class RmsNorm(nn.Module):
    """x / rms(x), times offset + scale; float32 inside (https://arxiv.org/abs/1910.07467)."""

    epsilon: float
    offset: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        init = nn.initializers.constant(1.0 - self.offset)
        init = nn.with_logical_partitioning(init, ("embed",))
        scale = self.param("scale", init, x.shape[-1:], jnp.float32)
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt((y * y).mean(-1, keepdims=True) + self.epsilon)
        scale = (self.offset + scale.astype(jnp.float32)).reshape((1,) * (x.ndim - 1) + (-1,))
        return (y * scale).astype(x.dtype)


class GatedMlp(nn.Module):
    """down(activation(gate(x)) * up(x)) (https://arxiv.org/abs/2002.05202)."""

    config: Config

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        c = self.config
        kwargs = dict(bias=c.mlp_bias, kernel_init=nn.initializers.normal(0.02), dtype=c.dtype)
        gate = Dense((c.hidden,), ("embed", "mlp"), name="gate", **kwargs)(x)
        up = Dense((c.hidden,), ("embed", "mlp"), name="up", **kwargs)(x)
        y = ACTIVATIONS[c.activation](gate) * up
        return Dense((c.width,), ("mlp", "embed"), name="down", **kwargs)(y)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); keys and values kept where `past` is."""

    config: Config

    @nn.compact
    def __call__(
        self,
        carry: tuple[Float[Array, "B L D"], KeyValues | None],
        layer: Int[Array, ""],
        window: Int[Array, ""],
        places: Places,
        rotation: rotary.Rotation,
    ) -> tuple[tuple[Float[Array, "B L D"], KeyValues | None], Array | None]:
        """One layer; arguments as in layers/transformer.py."""
        c = self.config
        x, past = carry
        init = nn.initializers.normal(0.02)
        attention = Attention(
            c.heads, init, init, c.dtype, c.kv_heads, c.head_size, c.qkv_bias,
            output_bias=c.output_bias, scale=c.attention_scale, cap=c.attention_cap,
            name="attention",
        )  # fmt: skip

        def norm(name: str, y: Array) -> Array:
            return RmsNorm(c.norm_epsilon, c.norm_offset, name=name)(y)

        mask = places.mask
        if c.windows:
            distance = places.position[:, :, None] - places.key_position[:, None, :]
            mask = mask & (distance < window)[:, None]
        x = rows_apart(x)

        y = norm("attention_norm", x)
        if past is None:
            y = attention(y, mask, rotation=rotation)
        else:
            y, past = attention.extend(y, past, layer, places.start, mask, rotation)
        x = x + (norm("attention_post_norm", y) if c.post_norms else y)

        y = GatedMlp(c, name="mlp")(norm("mlp_norm", x))
        x = x + (norm("mlp_post_norm", y) if c.post_norms else y)
        return (x, past), output_of_block(self, x)


class Decoder(nn.Module):
    """`layers` blocks; no norm at the end."""

    config: Config

    def __call__(self, x: Float[Array, "B L D"], places: Places) -> Float[Array, "B L D"]:
        """Whole sequences (layers/places.py: `whole_places`)."""
        return self._run(x, None, places)[0]

    def extend(
        self, x: Float[Array, "B L D"], cache: Cache, places: Places
    ) -> tuple[Float[Array, "B L D"], Cache]:
        """New tokens, for which `layers.cache.allocate` has taken places."""
        x, past = self._run(x, cache.past, places)
        return x, cache._replace(past=past)

    @nn.compact
    def _run(
        self, x: Array, past: KeyValues | None, places: Places
    ) -> tuple[Array, KeyValues | None]:
        c = self.config
        rotation = rotary.rotation(c.rotary, c.head_size, places.position)
        windows = c.windows or (0,)
        windows = [windows[i % len(windows)] or EVERYTHING for i in range(c.layers)]
        per_layer = (jnp.arange(c.layers), jnp.array(windows))
        (y, past), outputs = run_blocks(
            self, Block, (c,), (x, past), per_layer, (places, rotation), remat=past is None
        )
        sow_hidden_states(self, x, outputs)
        return y, past

    @nn.nowrap
    def empty(self, batch: int, slots: int, dtype: str | None = None) -> Cache:
        """A cache for `slots` tokens a row, kept in `dtype`, or else as the stream."""
        c = self.config
        return empty(c.layers, batch, slots, c.kv_heads, c.head_size, dtype or c.stream)
