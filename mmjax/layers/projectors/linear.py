"""One linear map of each patch: PaliGemma's projector (https://arxiv.org/abs/2407.07726).

Letters: B pictures, P patches, E width of the tower, D width of the language model.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import flax.linen as nn

from mmjax.layers.dense import Dense
from mmjax.typing import Array, Float


@dataclasses.dataclass(frozen=True)
class Config:
    bias: bool = True  # of the map
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the operands of matmuls

    def count(self, patches: int) -> int:
        """Tokens that come of the patches of a picture."""
        return patches


class Model(nn.Module):
    """Projector."""

    config: Config
    width: int  # D

    @nn.compact
    def __call__(self, x: Float[Array, "B P E"]) -> Float[Array, "B P D"]:
        c = self.config
        return Dense((self.width,), ("patch", "embed"), bias=c.bias, dtype=c.dtype, name="map")(x)
