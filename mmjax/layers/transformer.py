"""A stack of pre-norm transformer blocks, scanned over layers.

* Parameters are stored stacked, `[layers, ...]`, under the logical axis `layers`; one block is
  compiled once.
* `unroll` trades compile time for speed without changing the stored form; `remat` trades time for
  memory.
* Operands of matmuls are `dtype`, what is stored between them `stream`; LayerNorm and softmax work
  in float32.

Letters: B batch, L length, D width, F hidden.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers.attention import Attention
from mmjax.layers.dense import Dense
from mmjax.typing import Array, Bool, Float

ACTIVATIONS = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
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


@dataclasses.dataclass(frozen=True)
class Config:
    width: int = 192  # D
    layers: int = 4  # blocks
    heads: int = 3  # N; the width is a multiple of it
    hidden: int = 768  # F
    activation: Literal["gelu", "gelu_tanh", "quick_gelu", "relu"] = "gelu"  # of the MLP
    norm_epsilon: float = 1e-5  # of LayerNorm
    dropout: float = 0.0  # share of residual updates' entries dropped in training
    initialisation: Literal["clip", "xavier"] = "clip"  # OpenAI's, or big_vision's
    remat: Literal["none", "dots", "full"] = "none"  # what backward recomputes
    unroll: int = 1  # layers per iteration of the scan; = layers: fastest step, slowest compile
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the operands of matmuls
    stream: Literal["float32", "bfloat16"] = "float32"  # of the residual stream: what is stored


def layer_norm(config: Config, name: str) -> nn.LayerNorm:
    """LayerNorm with scale and bias over the last axis, named `embed`; float32 inside."""
    part = nn.with_logical_partitioning
    return nn.LayerNorm(
        epsilon=config.norm_epsilon,
        dtype=config.stream,
        scale_init=part(nn.initializers.ones_init(), ("embed",)),
        bias_init=part(nn.initializers.zeros_init(), ("embed",)),
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


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    config: Config
    train: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "B L D"], mask: Bool[Array, "#B 1 L L"] | None
    ) -> tuple[Float[Array, "B L D"], None]:
        c = self.config
        inits = (
            clip_initializers(c.width, c.layers)
            if c.initialisation == "clip"
            else xavier_initializers()
        )
        drop = nn.Dropout(c.dropout, deterministic=not self.train)
        attention = Attention(
            c.heads, inits.attention, inits.attention_out, c.dtype, name="attention"
        )
        mlp = Mlp(c.hidden, c.activation, inits.up, inits.down, inits.mlp_bias, c.dtype, name="mlp")
        x = x + drop(attention(layer_norm(c, "attention_norm")(x), mask))
        x = x + drop(mlp(layer_norm(c, "mlp_norm")(x)))
        return x, None  # (carry, nothing to collect): what scan expects


class Transformer(nn.Module):
    """`layers` blocks; no norm at the end (models differ there)."""

    config: Config
    train: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "B L D"], mask: Bool[Array, "#B 1 L L"] | None = None
    ) -> Float[Array, "B L D"]:
        c = self.config
        block = Block
        if c.remat != "none":
            block = nn.remat(Block, policy=REMAT[c.remat], prevent_cse=False)
        stack = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=nn.broadcast,
            length=c.layers,
            unroll=min(c.unroll, c.layers),
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        x, _ = stack(c, self.train, name="blocks")(x, mask)
        return x


def embedding(
    name: str, module: nn.Module, shape: tuple[int, int], std: float, axes: tuple[str | None, ...]
) -> Array:
    """A table of learned vectors (tokens, positions, class token) as a parameter of `module`."""
    init = nn.with_logical_partitioning(nn.initializers.normal(std), axes)
    return module.param(name, init, shape, jnp.float32)
