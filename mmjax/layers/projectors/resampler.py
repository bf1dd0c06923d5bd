"""A few learned queries read all patches: Flamingo's perceiver resampler.

Alayrac et al. 2022, https://arxiv.org/abs/2204.14198.

* A picture takes `queries` tokens of a prompt, however many patches it has.
* In each layer the queries attend to the patches and to themselves, then pass an MLP.

Letters: B pictures, P patches, E width of the tower, Q queries, D width of the language model.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from mmjax.layers.attention import Attention
from mmjax.layers.dense import Dense
from mmjax.layers.transformer import Mlp, embedding
from mmjax.typing import Array, Float, Positive


@dataclasses.dataclass(frozen=True)
class Config:
    queries: Positive = 64  # Q, tokens of a picture
    layers: Positive = 2  # each of attention and an MLP
    heads: Positive = 8  # of attention; the language model's width is a multiple of it
    expansion: Positive = 4  # width of the MLP's inner layer over D
    norm_epsilon: float = 1e-5  # of LayerNorm
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the operands of matmuls

    def count(self, patches: int) -> int:
        """Tokens that come of the patches of a picture."""
        return self.queries


class Model(nn.Module):
    """Projector."""

    config: Config
    width: int  # D

    @nn.compact
    def __call__(self, x: Float[Array, "B P E"]) -> Float[Array, "B Q D"]:
        c = self.config
        x = Dense((self.width,), ("patch", "embed"), dtype=c.dtype, name="map")(x)
        shape = (c.queries, self.width)
        table = embedding("queries", self, shape, self.width**-0.5, (None, "embed"))
        y = jnp.broadcast_to(table.astype(x.dtype)[None], (len(x), *shape))
        for i in range(c.layers):
            y = self._layer(i, x, y)
        return self._norm("norm", y)

    def _layer(self, i: int, patches: Array, queries: Array) -> Array:
        c = self.config
        query = self._norm(f"query_norm_{i}", queries)
        context = jnp.concatenate([self._norm(f"patch_norm_{i}", patches), query], axis=1)
        init = nn.initializers.normal(0.02)
        attention = Attention(c.heads, init, init, c.dtype, name=f"attention_{i}")
        queries = queries + attention(query, None, context)
        mlp = Mlp(
            c.expansion * self.width, "gelu", init, init, nn.initializers.zeros_init(), c.dtype,
            name=f"mlp_{i}",
        )  # fmt: skip
        return queries + mlp(self._norm(f"mlp_norm_{i}", queries))

    def _norm(self, name: str, x: Array) -> Array:
        part = nn.with_logical_partitioning
        norm = nn.LayerNorm(
            epsilon=self.config.norm_epsilon,
            dtype=x.dtype,
            scale_init=part(nn.initializers.ones_init(), ("embed",)),
            bias_init=part(nn.initializers.zeros_init(), ("embed",)),
            name=name,
        )
        return norm(x)
