"""A stack of transformer blocks with LayerNorm, scanned over layers.

* Stored, recomputed and looked into as layers/stack.py says: parameters under "blocks", hidden
  states as "hidden_states", [layers + 1, B, L, D].
* Operands of matmuls are `dtype`, what is stored between them `stream`; LayerNorm and softmax work
  in float32.
* The norm stands before each part of a block (GPT-2, ViT) or after the sum (BERT).
* A block may attend to a context besides (Whisper's and BLIP's decoders), and may read new tokens
  behind those of a cache.
* A stack of two uses may have a self-attention for each, and share all else (BLIP): `attention` is
  the name of the one in use.

Letters: B batch, L length, S keys, C positions of a context, D width, E width of a context, F
    hidden, N heads, H head size.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers.attention import Attention
from mmjax.layers.cache import ByHead, Cache, Context, KeyValues
from mmjax.layers.dense import Dense
from mmjax.layers.placement import on_one_cpu, rows_apart
from mmjax.layers.places import Places, as_mask
from mmjax.layers.stack import output_of_block, run_blocks, sow_hidden_states
from mmjax.typing import Array, Bool, Float, Int, Natural, Positive, Shaped

# The backward pass computes them again from what went in: elementwise work is cheap, and their
# insides are the widest tensors of a block (exact GELU would keep three).
ACTIVATIONS = {
    name: jax.checkpoint(function)
    for name, function in {
        "gelu": lambda x: jax.nn.gelu(x, approximate=False),
        "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
        "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
        "relu": jax.nn.relu,
        "silu": jax.nn.silu,
    }.items()
}


class Initializers(NamedTuple):
    """How the four kinds of kernels of a block start."""

    attention: nn.initializers.Initializer  # query, key, value
    attention_out: nn.initializers.Initializer
    up: nn.initializers.Initializer  # D -> F
    down: nn.initializers.Initializer  # F -> D
    mlp_bias: nn.initializers.Initializer = nn.initializers.zeros_init()


def clip_initializers(width: int, layers: int) -> Initializers:
    """OpenAI CLIP: residual outputs shrink with depth (https://arxiv.org/abs/2103.00020, released
    code)."""
    residual = width**-0.5 * (2 * layers) ** -0.5
    normal = nn.initializers.normal
    return Initializers(
        normal(width**-0.5), normal(residual), normal((2 * width) ** -0.5), normal(residual)
    )


def xavier_initializers() -> Initializers:
    """big_vision's ViT and SigLIP: Xavier uniform, MLP biases normal at 1e-6."""
    xavier = nn.initializers.xavier_uniform()
    return Initializers(xavier, xavier, xavier, xavier, nn.initializers.normal(1e-6))


def normal_initializers(layers: int | None = None) -> Initializers:
    """BERT: std 0.02. GPT-2, which gives its layers: residual outputs shrink with depth."""
    normal = nn.initializers.normal(0.02)
    out = normal if layers is None else nn.initializers.normal(0.02 * (2 * layers) ** -0.5)
    return Initializers(normal, out, normal, out)


@dataclasses.dataclass(frozen=True)
class Config:
    width: Positive = 192  # D
    layers: Natural = 4  # blocks; 0: x leaves as it came
    heads: Positive = 3  # N; the width is a multiple of it
    hidden: Positive = 768  # F
    activation: Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "silu"] = "gelu"  # of the MLP
    norm: Literal["pre", "post"] = "pre"  # before attention and MLP, or after their sums with x
    norm_epsilon: float = 1e-5  # of LayerNorm
    key_bias: bool = True  # keys have biases where queries and values have; Whisper's have none
    # products of queries and keys are divided by the layer's number, from 1 on
    # (https://github.com/stanford-crfm/mistral)
    scale_by_layer: bool = False
    dropout: float = 0.0  # share of residual updates' entries dropped in training
    # OpenAI CLIP's, big_vision's, BERT's, GPT-2's
    initialisation: Literal["clip", "xavier", "bert", "gpt2"] = "clip"
    remat: Literal["none", "dots", "full"] = "none"  # what backward recomputes
    unroll: Positive = 1  # layers per iteration of the scan; all: fastest step, slowest compile
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the operands of matmuls
    stream: Literal["float32", "bfloat16"] = "float32"  # of the residual stream: what is stored
    qkv_bias: bool = True  # queries, keys and values have biases


def layer_norm(config: Config, name: str | None, axis: str | None = "embed") -> nn.LayerNorm:
    """LayerNorm with scale and bias over the last axis, named `axis`; float32 inside."""
    part = nn.with_logical_partitioning
    return nn.LayerNorm(
        epsilon=config.norm_epsilon,
        dtype=config.stream,
        scale_init=part(nn.initializers.ones_init(), (axis,)),
        bias_init=part(nn.initializers.zeros_init(), (axis,)),
        name=name,
    )


class Mlp(nn.Module):
    """D -> F -> D."""

    hidden: int
    activation: str
    up_init: nn.initializers.Initializer
    down_init: nn.initializers.Initializer
    bias_init: nn.initializers.Initializer
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        kwargs = dict(bias_init=self.bias_init, dtype=self.dtype)
        up = Dense((self.hidden,), ("embed", "mlp"), kernel_init=self.up_init, name="up", **kwargs)
        down = Dense(
            (x.shape[-1],), ("mlp", "embed"), kernel_init=self.down_init, name="down", **kwargs
        )
        return down(ACTIVATIONS[self.activation](up(x)))


def initializers(config: Config) -> Initializers:
    """Of the kernels of a stack's blocks."""
    c = config
    return {
        "clip": lambda: clip_initializers(c.width, c.layers),
        "xavier": xavier_initializers,
        "bert": normal_initializers,
        "gpt2": lambda: normal_initializers(c.layers),
    }[c.initialisation]()


class Block(nn.Module):
    """x + attention(norm(x)), then x + cross(norm(x), context) where there is a context, then
    x + mlp(norm(x)); with norm="post", norm(x + attention(x)) and so on."""

    config: Config
    train: bool = False
    attention: str = "attention"  # name of the self-attention; its norm's name follows

    @nn.compact
    def __call__(
        self,
        carry: tuple[Float[Array, "B L D"], KeyValues | None],
        layer: Int[Array, ""],
        cross_kv: KeyValues | ByHead | None,
        context: Float[Array, "B C E"] | None,
        mask: Bool[Array, "#B 1 L S"] | None,
        context_mask: Bool[Array, "#B 1 L C"] | None,
        start: Int[Array, ""] | None,
    ) -> tuple[tuple[Float[Array, "B L D"], KeyValues | None], Array | None]:
        """One layer.

        Args:
          carry: x, and the keys and values of all layers where they are kept.
          cross_kv: this layer's of the context, [B, C, N, H] or by head; or `context`, hidden
            states.
          start: slot of the first new token, where keys and values are kept.
        """
        c = self.config
        x, past = carry
        before = c.norm == "pre"
        drop = nn.Dropout(c.dropout, deterministic=not self.train)
        divisor = (layer + 1).astype(jnp.float32) if c.scale_by_layer else None
        x = rows_apart(x)

        norm = layer_norm(c, f"{self.attention}_norm")
        attention = self._attention(self.attention)
        y = norm(x) if before else x
        if past is None:
            y = attention(y, mask, divisor=divisor)
        else:
            y, past = attention.extend(y, past, layer, start, mask, divisor=divisor)
        x = x + drop(y)
        x = x if before else norm(x)

        if cross_kv is not None or context is not None:
            norm = layer_norm(c, "cross_norm")
            y = norm(x) if before else x
            y = self._attention("cross")(y, context_mask, context if cross_kv is None else cross_kv)
            x = x + drop(y)
            x = x if before else norm(x)

        norm = layer_norm(c, "mlp_norm")
        x = x + drop(self._mlp()(norm(x) if before else x))
        x = x if before else norm(x)
        return (x, past), output_of_block(self, x)

    def _attention(self, name: str) -> Attention:
        c = self.config
        inits = initializers(c)
        return Attention(
            c.heads, inits.attention, inits.attention_out, c.dtype, bias=c.qkv_bias,
            key_bias=c.qkv_bias and c.key_bias, name=name,
        )  # fmt: skip

    def _mlp(self) -> Mlp:
        c = self.config
        inits = initializers(c)
        kernels = (inits.up, inits.down, inits.mlp_bias)
        return Mlp(c.hidden, c.activation, *kernels, c.dtype, name="mlp")


class CrossKeysValues(Block):
    """Only the keys and values that a block's cross-attention makes of a context."""

    @nn.compact
    def __call__(self, context: Float[Array, "B C E"]) -> tuple[Float[Array, "B C E"], KeyValues]:
        return context, self._attention("cross").keys_values(context, width=self.config.width)


class Transformer(nn.Module):
    """`layers` blocks, or none; no norm at the end (models differ there)."""

    config: Config
    train: bool = False
    attention: str = "attention"  # name of the blocks' self-attention

    def __call__(
        self,
        x: Float[Array, "B L D"],
        mask: Bool[Array, "#B 1 L L"] | None = None,
        context: Float[Array, "B C E"] | KeyValues | None = None,
        context_mask: Shaped[Array, "B C"] | None = None,
    ) -> Float[Array, "B L D"]:
        """Whole sequences.

        Args:
          context: what cross-attention reads: hidden states, or what `cross_kv` made of them.
          context_mask: True = a real position of the context; None: all are.
        """
        return self._run(x, None, mask, context, context_mask, None)[0]

    def extend(
        self, x: Float[Array, "B L D"], cache: Cache, places: Places
    ) -> tuple[Float[Array, "B L D"], Cache]:
        """New tokens, for which `layers.cache.allocate` has taken places."""
        if cache.context is not None and on_one_cpu() and self.has_variable("params", "block_0"):
            cache = cache._replace(context=cache.context.by_head())
        context = cache.context or Context(None, None)
        x, past = self._run(x, cache.past, places.mask, context.past, context.valid, places.start)
        return x, cache._replace(past=past)

    @nn.compact
    def cross_kv(self, context: Float[Array, "B C E"]) -> KeyValues:
        """Keys and values of all layers' cross-attention, [layers, B, C, N, H]."""
        arguments = (self.config, self.train, self.attention)
        return run_blocks(self, CrossKeysValues, arguments, context)[1]

    @nn.compact
    def _run(
        self,
        x: Array,
        past: KeyValues | None,
        mask: Array | None,
        context: Array | KeyValues | tuple[ByHead, ...] | None,
        context_mask: Array | None,
        start: Array | None,
    ) -> tuple[Array, KeyValues | None]:
        if self.config.layers == 0:
            sow_hidden_states(self, x, None)
            return x, past
        if context_mask is not None:
            shape = (len(x), 1, x.shape[1], context_mask.shape[1])
            context_mask = jnp.broadcast_to(as_mask(context_mask)[:, None, None], shape)
        cross_kv = None
        if isinstance(context, tuple):  # KeyValues, or a layer's by itself
            cross_kv = context if isinstance(context, KeyValues) else list(context)
            context = None
        per_layer = (jnp.arange(self.config.layers), cross_kv)
        shared = (context, mask, context_mask, start)
        arguments = (self.config, self.train, self.attention)
        (y, past), outputs = run_blocks(
            self, Block, arguments, (x, past), per_layer, shared, remat=past is None
        )
        sow_hidden_states(self, x, outputs)
        return y, past


def embedding(
    name: str, module: nn.Module, shape: tuple[int, int], std: float, axes: tuple[str | None, ...]
) -> Array:
    """A table of learned vectors (tokens, positions, class token) as a parameter of `module`."""
    init = nn.with_logical_partitioning(nn.initializers.normal(std), axes)
    return module.param(name, init, shape, jnp.float32)
