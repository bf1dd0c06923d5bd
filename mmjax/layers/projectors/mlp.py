"""Two layers for each patch: the projector of LLaVA-1.5 (https://arxiv.org/abs/2310.03744).

Letters: E width of the tower, D width of the language model, b any axes before it.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import flax.linen as nn

from mmjax.layers.dense import Dense
from mmjax.layers.transformer import ACTIVATIONS
from mmjax.typing import Array, Float


@dataclasses.dataclass(frozen=True)
class Config:
    # between the layers
    activation: Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "silu"] = "gelu"
    bias: bool = True  # of both layers
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the operands of matmuls

    def count(self, patches: int) -> int:
        """Tokens that come of the patches of a picture."""
        return patches


class Model(nn.Module):
    """Projector; both layers have the width of the language model."""

    config: Config
    width: int  # D

    @nn.compact
    def __call__(self, x: Float[Array, "*b E"]) -> Float[Array, "*b D"]:
        c = self.config
        kwargs = dict(bias=c.bias, dtype=c.dtype)
        x = Dense((self.width,), ("embed", "mlp"), name="up", **kwargs)(x)
        x = ACTIVATIONS[c.activation](x)
        return Dense((self.width,), ("mlp", "embed"), name="down", **kwargs)(x)
