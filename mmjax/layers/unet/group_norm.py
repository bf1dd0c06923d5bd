"""Group normalisation (https://arxiv.org/abs/1803.08494) of pictures and of clips.

* Over the places of each picture and the channels of each group; of a clip, over all of its frames.
* Sums over places are taken channel by channel first, and what is left is one factor and one offset
  for each row and channel: two passes over the tensor in all. float32 inside.

Letters: B rows, C channels, G groups.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.typing import Array, Float


class GroupNorm(nn.Module):
    """With a scale and a bias of each channel."""

    groups: int = 32
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "B ... C"]) -> Float[Array, "B ... C"]:
        """Normalises over all axes between the first and the last.

        Raises:
          ConfigError: channels that the groups do not divide.
        """
        channels = x.shape[-1]
        if channels % self.groups:
            raise ConfigError(
                f"{channels} channels are no multiple of the {self.groups} groups of a norm"
            )
        part = nn.with_logical_partitioning
        ones = part(nn.initializers.ones_init(), ("embed",))
        zeros = part(nn.initializers.zeros_init(), ("embed",))
        scale = self.param("scale", ones, (channels,), jnp.float32)
        bias = self.param("bias", zeros, (channels,), jnp.float32)

        between = tuple(range(1, x.ndim - 1))
        wide = x.astype(jnp.float32)
        mean = self._of_groups(wide.mean(between))
        square = self._of_groups(jnp.square(wide).mean(between))
        variance = jnp.maximum(square - jnp.square(mean), 0.0)
        factor = jax.lax.rsqrt(variance + self.epsilon) * scale[None]
        offset = bias[None] - mean * factor
        shape = (len(x), *(1,) * len(between), channels)
        return (wide * factor.reshape(shape) + offset.reshape(shape)).astype(x.dtype)

    def _of_groups(self, x: Float[Array, "B C"]) -> Float[Array, "B C"]:
        """Means over the channels of each group, for each of them."""
        batch, channels = x.shape
        size = channels // self.groups
        means = x.reshape(batch, self.groups, size).mean(-1, keepdims=True)
        return jnp.broadcast_to(means, (batch, self.groups, size)).reshape(batch, channels)
