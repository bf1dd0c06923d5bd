"""Residual blocks: over places, told of the time of the noise; and over frames.

* Over places (https://arxiv.org/abs/2006.11239): norm, activation and 3 x 3 convolution twice. The
  condition, one vector a row, is added between the two; with FiLM
  (https://arxiv.org/abs/1709.07871) it scales and shifts what the second norm gives.
* Over frames: four (3, 1, 1) convolutions, of which the last starts at zero, so that a model of
  pictures is not disturbed by it (https://arxiv.org/abs/2308.06571).

Letters: B rows, T frames, H rows and W columns of a picture, C channels, O channels that leave,
    D width of the condition.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from mmjax.layers.dense import Dense
from mmjax.layers.transformer import ACTIVATIONS
from mmjax.layers.unet.convolution import Convolution, TemporalConvolution
from mmjax.layers.unet.group_norm import GroupNorm
from mmjax.layers.unet.start import by_inputs
from mmjax.typing import Array, Float


class Residual(nn.Module):
    """x + f(x, condition), the sum divided by `divisor`."""

    features: int  # O
    groups: int = 32
    epsilon: float = 1e-5
    film: bool = False  # the condition scales and shifts
    divisor: float = 1.0
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T H W C"], condition: Float[Array, "B D"] | None = None
    ) -> Float[Array, "B T H W O"]:
        """Frame by frame; each norm sees a frame of its own."""
        batch, frames = x.shape[:2]
        act = ACTIVATIONS["silu"]
        rows = x.reshape(batch * frames, *x.shape[2:])
        y = act(GroupNorm(self.groups, self.epsilon, name="norm_1")(rows))
        y = Convolution(self.features, dtype=self.dtype, name="conv_1")(y)
        norm = GroupNorm(self.groups, self.epsilon, name="norm_2")
        if condition is None:
            y = norm(y)
        else:
            count = 2 if self.film else 1
            told = Dense(
                (count, self.features), ("mlp", None, "embed"), kernel_init=by_inputs,
                dtype=self.dtype, name="condition",
            )(act(condition))  # fmt: skip
            told = jnp.repeat(told.astype(y.dtype), frames, axis=0)[:, None, None]
            if self.film:
                y = norm(y) * (1 + told[..., 0, :]) + told[..., 1, :]
            else:
                y = norm(y + told[..., 0, :])
        last = nn.initializers.zeros_init()
        y = Convolution(self.features, kernel_init=last, dtype=self.dtype, name="conv_2")(act(y))
        if x.shape[-1] != self.features:
            rows = Convolution(self.features, size=1, dtype=self.dtype, name="shortcut")(rows)
        y = rows + y if self.divisor == 1.0 else (rows + y) / self.divisor
        return y.reshape(batch, frames, *y.shape[1:])


class TemporalResidual(nn.Module):
    """x + f(x) over frames."""

    groups: int = 32
    causal: bool = False  # no frame sees a later one, in the norms neither
    dropout: float = 0.0  # share of entries dropped before all convolutions but the first
    train: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        drop = nn.Dropout(self.dropout, deterministic=not self.train)
        y = x
        for number in (1, 2, 3, 4):
            norm = GroupNorm(self.groups, name=f"norm_{number}")
            y = ACTIVATIONS["silu"](in_time(norm, y, self.causal))
            if number > 1:
                y = drop(y)
            init = by_inputs if number < 4 else nn.initializers.zeros_init()
            y = TemporalConvolution(
                x.shape[-1], self.causal, init, self.dtype, name=f"conv_{number}"
            )(y)
        return x + y


def in_time(norm: GroupNorm, x: Float[Array, "B T ..."], causal: bool) -> Float[Array, "B T ..."]:
    """A norm over all frames of a clip, or where these must not see each other, over each."""
    if not causal:
        return norm(x)
    return norm(x.reshape(-1, *x.shape[2:])).reshape(x.shape)
