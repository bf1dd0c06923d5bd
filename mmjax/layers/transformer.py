"""A stack of transformer blocks with LayerNorm, scanned over layers.

* Parameters are stored stacked, `[layers, ...]`, under the logical axis `layers`; one block is
  compiled once.
* `unroll` trades compile time for speed without changing the stored form; `remat` trades time for
  memory.
* Operands of matmuls are `dtype`, what is stored between them `stream`; LayerNorm and softmax work
  in float32.
* The norm stands before each part of a block (GPT-2, ViT) or after the sum (BERT).
* What each block puts out: `apply(..., mutable=["intermediates"])`, "hidden", [layers, B, L, D].

Letters: B batch, L length, D width, F hidden.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers.attention import Attention
from mmjax.layers.cache import Cache, KeyValues, Places
from mmjax.layers.dense import Dense
from mmjax.layers.placement import rows_apart
from mmjax.typing import Array, Bool, Float, Int

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
REMAT = {
    "none": None,
    # keep the outputs of matmuls with weights
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,  # keep block inputs only
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
    width: int = 192  # D
    layers: int = 4  # blocks; 0: x leaves as it came
    heads: int = 3  # N; the width is a multiple of it
    hidden: int = 768  # F
    activation: Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "silu"] = "gelu"  # of the MLP
    norm: Literal["pre", "post"] = "pre"  # before attention and MLP, or after their sums with x
    norm_epsilon: float = 1e-5  # of LayerNorm
    dropout: float = 0.0  # share of residual updates' entries dropped in training
    # OpenAI CLIP's, big_vision's, BERT's, GPT-2's
    initialisation: Literal["clip", "xavier", "bert", "gpt2"] = "clip"
    remat: Literal["none", "dots", "full"] = "none"  # what backward recomputes
    unroll: int = 1  # layers per iteration of the scan; = layers: fastest step, slowest compile
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
        kinds = dict(bias_init=self.bias_init, dtype=self.dtype)
        y = Dense((self.hidden,), ("embed", "mlp"), kernel_init=self.up_init, name="up", **kinds)(x)
        y = ACTIVATIONS[self.activation](y)
        return Dense(
            (x.shape[-1],), ("mlp", "embed"), kernel_init=self.down_init, name="down", **kinds
        )(y)


def _initializers(config: Config) -> Initializers:
    c = config
    return {
        "clip": lambda: clip_initializers(c.width, c.layers),
        "xavier": xavier_initializers,
        "bert": normal_initializers,
        "gpt2": lambda: normal_initializers(c.layers),
    }[c.initialisation]()


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); with norm="post", norm(x + attention(x)), then
    norm(x + mlp(x))."""

    config: Config
    train: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "B L D"], mask: Bool[Array, "#B 1 L L"] | None
    ) -> tuple[Float[Array, "B L D"], None]:
        x, _ = self._update(x, lambda attention, y: (attention(y, mask), None))
        return x, None  # (carry, nothing to collect): what scan expects

    def _update(self, x: Array, attend: Callable[[Attention, Array], tuple[Array, Any]]) -> tuple:
        c, inits = self.config, _initializers(self.config)
        drop = nn.Dropout(c.dropout, deterministic=not self.train)
        attention = Attention(
            c.heads,
            inits.attention,
            inits.attention_out,
            c.dtype,
            bias=c.qkv_bias,
            name="attention",
        )
        mlp = Mlp(c.hidden, c.activation, inits.up, inits.down, inits.mlp_bias, c.dtype, name="mlp")
        attention_norm, mlp_norm = layer_norm(c, "attention_norm"), layer_norm(c, "mlp_norm")
        pre = c.norm == "pre"
        x = rows_apart(x)
        y, kept = attend(attention, attention_norm(x) if pre else x)
        x = x + drop(y) if pre else attention_norm(x + drop(y))
        x = x + drop(mlp(mlp_norm(x))) if pre else mlp_norm(x + drop(mlp(x)))
        self.sow("intermediates", "hidden", x)
        return x, kept


class CachedBlock(Block):
    """The same for new tokens of a sequence whose keys and values are kept."""

    @nn.compact
    def __call__(
        self, carry: tuple[Array, KeyValues], layer: Int[Array, ""], places: Places
    ) -> tuple[tuple[Array, KeyValues], None]:
        x, past = carry
        return self._update(
            x, lambda attention, y: attention.extend(y, past, layer, places.start, places.mask)
        ), None


def stacked(
    block: type[nn.Module], config: Any, axes: Any = nn.broadcast, *, remat: bool = False
) -> Callable[..., nn.Module]:
    """`config.layers` blocks, one after the other: called as `block` is, it makes the stack.

    Args:
      config: with `layers`, `unroll` and `remat`, as in Config.
      axes: of what the blocks take besides x: 0 where each has its own, else `nn.broadcast`.
      remat: the backward pass recomputes what `config.remat` says; not for a cache.
    """
    if remat and config.remat != "none":
        block = nn.remat(block, policy=REMAT[config.remat], prevent_cse=False)
    return nn.scan(
        block,
        variable_axes={"params": 0, "intermediates": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=axes,
        length=config.layers,
        unroll=min(config.unroll, config.layers),
        metadata_params={nn.PARTITION_NAME: "layers"},
    )


class Transformer(nn.Module):
    """`layers` blocks, or none; no norm at the end (models differ there)."""

    config: Config
    train: bool = False

    def __call__(
        self, x: Float[Array, "B L D"], mask: Bool[Array, "#B 1 L L"] | None = None
    ) -> Float[Array, "B L D"]:
        if self.config.layers == 0:
            return x
        return self._scan(stacked(Block, self.config, remat=True), x, mask)

    def extend(
        self, x: Float[Array, "B L D"], cache: Cache, places: Places
    ) -> tuple[Float[Array, "B L D"], Cache]:
        """New tokens, for which `layers.cache.claim` has taken places."""
        layers = jnp.arange(self.config.layers)
        carry = (x, cache.past)
        blocks = stacked(CachedBlock, self.config, (0, nn.broadcast))
        x, past = self._scan(blocks, carry, layers, places)
        return x, cache._replace(past=past)

    @nn.compact
    def _scan(self, blocks: Callable[..., nn.Module], carry: Any, *arguments: Any) -> Any:
        carry, _ = blocks(self.config, self.train, name="blocks")(carry, *arguments)
        return carry


def embedding(
    name: str, module: nn.Module, shape: tuple[int, int], std: float, axes: tuple[str | None, ...]
) -> Array:
    """A table of learned vectors (tokens, positions, class token) as a parameter of `module`."""
    init = nn.with_logical_partitioning(nn.initializers.normal(std), axes)
    return module.param(name, init, shape, jnp.float32)
