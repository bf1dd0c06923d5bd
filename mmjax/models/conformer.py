"""Conformer: log-mel frames -> letters of speech (Gulati et al. 2020, arXiv:2005.08100).

* Strided convolutions make one frame of four. A block is half an MLP, self-attention, a convolution
  over time, the other half of an MLP, and a norm: what is near is found by the convolution, which
  is what lets a small set teach it; without taps and with one MLP it is a plain transformer.
* Positions turn queries and keys (layers/rotary.py) where the paper adds relative ones: shown to do
  as well (https://arxiv.org/abs/2107.05907).
* The convolution's norm is over the channels of a frame, the paper's over the batch: no statistics
  to keep, and no row sees another.
* The convolution over time is a sum of shifted products: XLA's convolution in groups of one channel
  is slow on a CPU.
* Frames behind a clip are zeros to every convolution and are never attended to.

Letters: B batch, T frames of 10 ms, M mel bins, L frames of the encoder, D width, V letters.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers import rotary, transformer
from mmjax.layers.attention import Attention, attention_mask
from mmjax.layers.convolution import Convolution
from mmjax.layers.dense import Dense
from mmjax.layers.stack import output_of_block, run_blocks, sow_hidden_states
from mmjax.layers.transformer import ACTIVATIONS, Mlp, layer_norm
from mmjax.typing import Array, Bool, Float, Int, Natural, Positive

STACK = transformer.Config(
    width=144, layers=16, heads=4, hidden=576, activation="silu", initialisation="xavier"
)


@dataclasses.dataclass(frozen=True)
class Config:
    bins: Positive = 80  # M
    subsampling: Positive = 4  # frames of which the encoder makes one: a power of two
    transformer: transformer.Config = STACK  # the blocks; each has two MLPs
    taps: Natural = 31  # frames that a block's convolution sees, an odd number; 0: there is none
    letters: int | None = None  # V, the blank among them; None: no CTC head

    def __post_init__(self) -> None:
        if self.subsampling & (self.subsampling - 1):
            raise ConfigError(f"subsampling={self.subsampling} is no power of two")
        if self.taps and self.taps % 2 == 0:
            raise ConfigError(f"taps={self.taps}: an odd number has a middle; it is even")
        if self.transformer.norm != "pre":
            raise ConfigError('transformer.norm: a Conformer\'s norms are "pre"')


class Output(NamedTuple):
    """What the model returns."""

    tokens: Float[Array, "B L D"]  # after the last block's norm
    logits: Float[Array, "B L V"] | None  # of each frame's letter, float32


def frames(config: Config, count: Int[Array, " B"] | int) -> Int[Array, " B"] | int:
    """Frames of the encoder that so many of the spectrogram give."""
    return -(-count // config.subsampling)


def frame_mask(config: Config, mask: Bool[Array, "B T"]) -> Bool[Array, "B L"]:
    """Which frames of the encoder hold sound, from those of the spectrogram (padding behind)."""
    length = frames(config, mask.shape[1])
    return jnp.arange(length)[None] < frames(config, mask.sum(1))[:, None]


class OverTime(nn.Module):
    """The convolution of a block: gated, each channel for itself, D -> D."""

    config: transformer.Config
    taps: int

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], valid: Array | None) -> Float[Array, "B L D"]:
        c = self.config
        init = nn.initializers.xavier_uniform()
        kwargs = dict(kernel_init=init, dtype=c.dtype)
        gate = Dense((c.width,), ("embed", "mlp"), name="gate", **kwargs)(x)
        x = Dense((c.width,), ("embed", "mlp"), name="up", **kwargs)(x) * nn.sigmoid(gate)
        if valid is not None:
            x = jnp.where(valid[..., None], x, 0)
        part = nn.with_logical_partitioning
        init = part(nn.initializers.normal(self.taps**-0.5), ("patch", "mlp"))
        kernel = self.param("taps", init, (self.taps, c.width), jnp.float32)
        x = over_time(x, kernel)
        x = ACTIVATIONS[c.activation](layer_norm(c, "norm")(x))
        return Dense((c.width,), ("mlp", "embed"), name="down", **kwargs)(x)


@jax.custom_vjp
def over_time(x: Float[Array, "B L D"], kernel: Float[Array, "K D"]) -> Float[Array, "B L D"]:
    """Each channel with its own taps, as many frames before as behind; K is odd.

    The gradient is written down: 4 times as fast on a CPU as that of the sum, which pads a tensor
    for each tap.
    """
    shifted = _shifted(x, len(kernel))
    weights = kernel.astype(x.dtype)[:, None, None]
    return sum(frames * weight for frames, weight in zip(shifted, weights, strict=True))


def _shifted(x: Array, taps: int) -> list[Array]:
    """x as each of the taps sees it, zeros beyond the ends."""
    length = x.shape[1]
    padded = jnp.pad(x, ((0, 0), (taps // 2, taps // 2), (0, 0)))
    return [padded[:, first : first + length] for first in range(taps)]


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return over_time(x, kernel), (x, kernel)


def _backward(kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = kept
    sums = [(frames * g).sum((0, 1)) for frames in _shifted(x, len(kernel))]
    return over_time(g, kernel[::-1]), jnp.stack(sums).astype(kernel.dtype)


over_time.defvjp(_forward, _backward)


class Block(nn.Module):
    """x + mlp / 2, x + attention, x + convolution, x + mlp / 2, norm."""

    config: transformer.Config
    taps: int
    train: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B L D"],
        rotation: rotary.Rotation,
        mask: Bool[Array, "#B 1 L L"] | None,
        valid: Bool[Array, "B L"] | None,
    ) -> tuple[Float[Array, "B L D"], Array | None]:
        c = self.config
        drop = nn.Dropout(c.dropout, deterministic=not self.train)
        init = nn.initializers.xavier_uniform()

        def mlp(name: str) -> Array:
            zeros = nn.initializers.zeros_init()
            y = layer_norm(c, f"{name}_norm")(x)
            return Mlp(c.hidden, c.activation, init, init, zeros, c.dtype, name=name)(y)

        x = x + 0.5 * drop(mlp("mlp_before"))
        attention = Attention(c.heads, init, init, c.dtype, name="attention")
        y = attention(layer_norm(c, "attention_norm")(x), mask, rotation=rotation)
        x = x + drop(y)
        if self.taps:
            y = layer_norm(c, "convolution_norm")(x)
            x = x + drop(OverTime(c, self.taps, name="convolution")(y, valid))
        x = x + 0.5 * drop(mlp("mlp_behind"))
        x = layer_norm(c, "norm")(x)
        return x, output_of_block(self, x)


class Blocks(nn.Module):
    """`layers` blocks."""

    config: transformer.Config
    taps: int
    train: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "B L D"], valid: Bool[Array, "B L"] | None
    ) -> Float[Array, "B L D"]:
        c = self.config
        if c.width % c.heads or (c.width // c.heads) % 2:
            raise ConfigError(f"the width {c.width} does not make {c.heads} heads of even size")
        length = x.shape[1]
        rotation = rotary.rotation(rotary.Config(), c.width // c.heads, jnp.arange(length)[None])
        mask = None if valid is None else attention_mask(valid, length, causal=False)
        y, outputs = run_blocks(
            self, Block, (c, self.taps, self.train), x, (), (rotation, mask, valid), remat=True
        )
        sow_hidden_states(self, x, outputs)
        return y


class Model(nn.Module):
    """Speech encoder."""

    config: Config

    @nn.nowrap
    def frame_mask(self, mask: Bool[Array, "B T"]) -> Bool[Array, "B L"]:
        """Which of the encoder's frames hold sound."""
        return frame_mask(self.config, mask)

    def encode_audio(
        self,
        features: Float[Array, "B T M"],
        mask: Bool[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B L D"]:
        """Log-mel frames -> one vector for each four of them; those of `frame_mask` are sound."""
        return self(features, mask, train=train).tokens

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "B T M"],
        mask: Bool[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Output:
        """Log-mel frames, padded behind -> vectors and logits of the encoder's frames.

        Args:
          mask: True = sound; None: all of it is.
        """
        c = self.config
        t = c.transformer
        x = features.astype(t.stream)
        for i in range(int(math.log2(c.subsampling))):
            if mask is not None:
                x = jnp.where(
                    frame_mask(dataclasses.replace(c, subsampling=2**i), mask)[..., None], x, 0
                )
            x = Convolution(t.width, 3, 2, (1, 1), dtype=t.dtype, name=f"stem_{i}")(x)
            x = ACTIVATIONS[t.activation](x)
        x = Dense((t.width,), (None, "embed"), dtype=t.dtype, name="projection")(x)
        x = nn.Dropout(t.dropout, deterministic=not train)(x)
        valid = None if mask is None else self.frame_mask(mask)
        x = Blocks(t, c.taps, train, name="transformer")(x, valid)
        if c.letters is None:
            return Output(x, None)
        logits = Dense((c.letters,), ("embed", "vocab"), dtype=t.dtype, name="head")(x)
        return Output(x, logits.astype(jnp.float32))


def inputs(config: Config) -> tuple[Array, ...]:
    """What the model is called with to make its parameters, one row."""
    return (jnp.zeros((1, config.subsampling, config.bins)),)


def _size(width: int, layers: int, heads: int) -> Config:
    stack = dataclasses.replace(STACK, width=width, layers=layers, heads=heads, hidden=4 * width)
    return Config(transformer=stack)


VARIANTS = {
    "S": _size(144, 16, 4),  # the paper's three, 10, 31 and 119 million parameters with a decoder
    "M": _size(256, 16, 4),
    "L": _size(512, 17, 8),
}
