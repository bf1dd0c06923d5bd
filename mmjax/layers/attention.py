"""Multi-head attention (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762).

* Masks are True where attention is allowed, `[B or 1, 1, L, S]`; `attention_mask` builds them.
* Softmax in float32 whatever the compute type.
* Separate query, key and value kernels `[D, N, H]`: sharded by heads, one table for conversion.

Letters: B batch, L query length, S key length, D width, N heads, H head size.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers.dense import Dense
from mmjax.typing import Array, Bool, Float


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


class Attention(nn.Module):
    """Queries from `x`, keys and values from `context` (`x` itself by default)."""

    heads: int
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    output_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B L D"],
        mask: Bool[Array, "#B 1 L S"] | None = None,
        context: Float[Array, "B S E"] | None = None,
    ) -> Float[Array, "B L D"]:
        width = x.shape[-1]
        if width % self.heads:
            raise ValueError(f"the width {width} is not a multiple of the {self.heads} heads")
        context = x if context is None else context

        def project(name: str, source: Array) -> Array:  # [B, S, N, H]
            size = (self.heads, width // self.heads)
            axes = ("embed", "heads", "head")
            return Dense(size, axes, kernel_init=self.kernel_init, dtype=self.dtype, name=name)(
                source
            )

        query, key, value = project("query", x), project("key", context), project("value", context)
        out = jax.nn.dot_product_attention(query, key, value, mask=mask)  # [B, L, N, H]
        axes = ("heads", "head", "embed")
        return Dense(
            (width,), axes, inputs=2, kernel_init=self.output_init, dtype=self.dtype, name="out"
        )(out)
