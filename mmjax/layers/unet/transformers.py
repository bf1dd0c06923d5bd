"""Transformers inside a U-Net: over the places of each frame, and over the frames of each place.

* Norm, map in, one block, map out, and what came in is added. A block: self-attention, attention to
  a text (over places) or to itself once more (over frames), an MLP whose hidden half is gated by
  the other (https://arxiv.org/abs/2002.05202).
* Keys and values of a text are made once a row, not once a frame.
* No positions: places and frames are told apart by what convolutions make of them. Where places
  attend to all frames at once, which the reference does not know, each is told its frame, row and
  column: with convolutions alone a small model did not find out which frame came before which.

Letters: B rows, T frames, H rows and W columns of a picture, C channels, P places, L tokens,
    S tokens of a text, E its width, D width inside, F hidden.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from mmjax.layers.attention import Attention, attention_mask
from mmjax.layers.dense import Dense
from mmjax.layers.places import as_mask
from mmjax.layers.transformer import ACTIVATIONS
from mmjax.layers.unet.group_norm import GroupNorm
from mmjax.layers.unet.residual import in_time
from mmjax.layers.unet.start import by_inputs
from mmjax.layers.unet.times import waves
from mmjax.typing import Array, Bool, Float

EPSILON = 1e-6  # of the norm in front; those inside a block have 1e-5
INIT = by_inputs
WAVES = 32  # numbers that say each of frame, row and column


class GatedMlp(nn.Module):
    """D -> F * GELU(F) -> D."""

    hidden: int  # F
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        up = Dense(
            (2, self.hidden), ("embed", None, "mlp"), kernel_init=INIT, dtype=self.dtype, name="up"
        )(x)
        y = up[..., 0, :] * ACTIVATIONS["gelu"](up[..., 1, :])
        down = Dense(
            (x.shape[-1],), ("mlp", "embed"), kernel_init=INIT, dtype=self.dtype, name="down"
        )
        return down(y)


class Block(nn.Module):
    """x + self-attention, then x + a second attention, then x + MLP; norms stand before each."""

    heads: int
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B L D"],
        mask: Bool[Array, "#B 1 L L"] | None = None,
        context: Float[Array, "rows S E"] | None = None,
        context_mask: Bool[Array, "rows S"] | None = None,
    ) -> Float[Array, "B L D"]:
        """The second attention is to the context, or to x itself where there is none.

        Args:
          mask: of the attentions to x itself.
          context: of each row, which may stand for several rows of x, one after the other.
        """

        def attention(number: int) -> Attention:
            return Attention(
                self.heads, INIT, INIT, self.dtype, bias=False, name=f"attention_{number}"
            )

        width = x.shape[-1]
        x = x + attention(1)(_norm(1, x), mask)
        if context is None:
            x = x + attention(2)(_norm(2, x), mask)
        else:
            # the frames of a clip read the same text: its keys and values are made once
            together = _norm(2, x).reshape(len(context), -1, width)
            if context_mask is not None:
                shape = (*together.shape[:2], context.shape[1])
                context_mask = jnp.broadcast_to(as_mask(context_mask)[:, None], shape)[:, None]
            x = x + attention(2)(together, context_mask, context).reshape(x.shape)
        return x + GatedMlp(4 * width, self.dtype, name="mlp")(_norm(3, x))


def _norm(number: int, x: Array) -> Array:
    part = nn.with_logical_partitioning
    norm = nn.LayerNorm(
        epsilon=1e-5,
        dtype=x.dtype,  # what is stored; float32 inside
        scale_init=part(nn.initializers.ones_init(), ("embed",)),
        bias_init=part(nn.initializers.zeros_init(), ("embed",)),
        name=f"norm_{number}",
    )
    return norm(x)


class SpatialTransformer(nn.Module):
    """Over the places of each frame, which read a text besides."""

    heads: int
    groups: int = 32
    joint: bool = False  # over the places of all frames at once
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T H W C"],
        states: Float[Array, "B S E"],
        mask: Bool[Array, "B S"] | None = None,
    ) -> Float[Array, "B T H W C"]:
        """What comes in, and what the places have to say to it.

        Args:
          states: of the text; `mask` says which are real, None: all are.
        """
        batch, frames, height, width, channels = x.shape
        y = x.reshape(batch * frames, height * width, channels)
        y = GroupNorm(self.groups, EPSILON, name="norm")(y)
        y = _map("in", channels, self.dtype)(y)
        if self.joint:
            y = y.reshape(batch, -1, channels) + self._positions(frames, height, width, channels)
        y = Block(self.heads, self.dtype, name="block")(y, None, states, mask)
        return x + _map("out", channels, self.dtype)(y).reshape(x.shape)


    @nn.compact
    def _positions(self, frames: int, height: int, width: int, channels: int) -> Array:
        """Of every place of every frame, [1, T * P, C]."""
        grid = jnp.indices((frames, height, width)).reshape(3, -1)
        told = jnp.concatenate([waves(numbers, WAVES) for numbers in grid], axis=-1)
        positions = Dense(
            (channels,), (None, "joint"), kernel_init=by_inputs, dtype=self.dtype, name="positions"
        )
        return positions(told)[None]


class TemporalTransformer(nn.Module):
    """Over the frames of each place."""

    heads: int
    groups: int = 32
    width: int | None = None  # D; None: C
    causal: bool = False  # no frame sees a later one
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        batch, frames, height, width, channels = x.shape
        inside = self.width or channels
        y = x.reshape(batch, frames, height * width, channels)
        y = in_time(GroupNorm(self.groups, EPSILON, name="norm"), y, self.causal)
        y = _map("in", inside, self.dtype)(y)
        y = y.swapaxes(1, 2).reshape(-1, frames, inside)
        mask = attention_mask(None, frames, causal=self.causal)
        y = Block(self.heads, self.dtype, name="block")(y, mask)
        y = _map("out", channels, self.dtype)(y)
        y = y.reshape(batch, height * width, frames, channels).swapaxes(1, 2)
        return x + y.reshape(x.shape)


def _map(name: str, width: int, dtype: str) -> Dense:
    axes, init = {
        "in": (("embed", "joint"), by_inputs),
        # nothing is added at the start
        "out": (("joint", "embed"), nn.initializers.zeros_init()),
    }[name]
    return Dense((width,), axes, kernel_init=init, dtype=dtype, name=name)
