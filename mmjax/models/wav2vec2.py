"""wav2vec 2.0 and HuBERT: samples -> frames of 20 ms, and letters for CTC.

https://arxiv.org/abs/2006.11477, https://arxiv.org/abs/2106.07447: the same network, trained
otherwise.

* Seven convolutions without padding shorten the samples 320 times. "group": the first one is
  normalised over time, which padding takes part in; "layer": each frame of each one is.
* Positions are a wide grouped convolution over the frames, its kernel a direction and a length for
  each tap (weight norm), or behind a batch norm of kept statistics.
* Blocks of post-norm (base) or pre-norm ("stable": large models on much data).
* An adapter, where there is one, shortens the frames for a decoder of text behind the encoder
  (https://arxiv.org/abs/2104.06678, speech translation).
* What is padding is told by a mask over samples; the frames behind it are zero and never seen.

Letters: B batch, T samples, L frames, D width, C channels, V letters.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers import transformer
from mmjax.layers.attention import attention_mask
from mmjax.layers.convolution import Convolution, convolve
from mmjax.layers.dense import Dense
from mmjax.layers.transformer import ACTIVATIONS, layer_norm
from mmjax.models.resnet import FrozenNorm
from mmjax.models.whisper_encoder import Count
from mmjax.typing import Array, Bool, Float, Positive

EPSILON = 1e-5  # of the norms between convolutions


@dataclasses.dataclass(frozen=True)
class Stage:
    """One convolution of the front."""

    width: Positive = 512  # channels that leave it
    taps: Positive = 3  # samples or frames that one of them sees
    stride: Positive = 2


@dataclasses.dataclass(frozen=True)
class Adapter:
    """Gated convolutions behind the blocks, each of which shortens the frames."""

    width: Positive = 1024  # channels that leave it; not D: a dense layer and a norm come first
    layers: Positive = 3  # convolutions
    taps: Positive = 3  # frames that one of them sees
    stride: Positive = 2  # frames of which it makes one


STAGES = (Stage(taps=10, stride=5), *[Stage()] * 4, *[Stage(taps=2)] * 2)
BASE = transformer.Config(
    width=768, layers=12, heads=12, hidden=3072, norm="post", initialisation="bert"
)
LARGE = dataclasses.replace(BASE, width=1024, layers=24, heads=16, hidden=4096, norm="pre")


@dataclasses.dataclass(frozen=True)
class Config:
    front: tuple[Stage, ...] = STAGES  # convolutions over the samples
    front_bias: bool = False  # whether they have one
    front_norm: Literal["group", "layer"] = "group"  # behind the first, or behind each
    # behind each convolution, that of the positions too
    front_activation: Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "silu"] = "gelu"
    projection_norm: bool = True  # LayerNorm between front and blocks
    position_taps: Positive = 128  # frames that a position is made of
    position_groups: Positive = 16  # of channels, each convolved for itself
    # weight: lengths of the kernel's taps are parameters; batch: the frames are normalised first,
    # by statistics that are kept and not trained
    position_norm: Literal["weight", "batch"] = "weight"
    transformer: transformer.Config = BASE  # the blocks; norm "pre" is the stable variant
    adapter: Adapter | None = None  # shortens the frames behind the blocks; None: they stay
    letters: int | None = None  # V, the blank among them; None: no CTC head
    start_id: int | None = 1  # letter that opens a text
    end_ids: tuple[int, ...] = (2,)  # letters that end one
    padding_id: int | None = 0  # letter that fills up rows: CTC's blank

    def vectors(self, samples: Count) -> Count:
        """L, for so many samples of sound; 0 or less: too short."""
        return frames(self, samples)


class Output(NamedTuple):
    """What the model returns."""

    tokens: Float[Array, "B L D"]  # after the last block and norm, and the adapter
    logits: Float[Array, "B L V"] | None  # of each frame's letter, float32


def frames(config: Config, samples: Count) -> Count:
    """Frames that so many samples give; 0 or less where they are too few."""
    count = samples
    for stage in config.front:
        count = (count - stage.taps) // stage.stride + 1
    if config.adapter is not None:
        for _ in range(config.adapter.layers):  # one frame of zeros on either side
            count = (count + 2 - config.adapter.taps) // config.adapter.stride + 1
    return count


def frame_mask(config: Config, mask: Bool[Array, "B T"]) -> Bool[Array, "B L"]:
    """Which frames are made of sound alone, from which samples are sound (padding behind)."""
    length = frames(config, mask.shape[1])
    return jnp.arange(length)[None] < frames(config, mask.sum(1))[:, None]


class Front(nn.Module):
    """Samples -> frames."""

    config: Config

    @nn.compact
    def __call__(self, samples: Float[Array, "B T"]) -> Float[Array, "B L C"]:
        c = self.config
        t = c.transformer
        x = samples[..., None].astype(t.stream)
        for i, stage in enumerate(c.front):
            x = Convolution(
                stage.width, stage.taps, stage.stride, bias=c.front_bias, dtype=t.dtype,
                kernel_init=nn.initializers.he_normal(), name=f"conv_{i}",
            )(x)  # fmt: skip
            if c.front_norm == "layer" or i == 0:
                x = self._norm(x, f"norm_{i}")
            x = ACTIVATIONS[c.front_activation](x)
        return x

    def _norm(self, x: Array, name: str) -> Array:
        """Each channel over time, or each frame over its channels, in float32."""
        axis = 1 if self.config.front_norm == "group" else -1
        part = nn.with_logical_partitioning
        shape = x.shape[-1:]
        ones = part(nn.initializers.ones, ("embed",))
        zeros = part(nn.initializers.zeros, ("embed",))
        scale = self.param(f"{name}_scale", ones, shape, jnp.float32)
        bias = self.param(f"{name}_bias", zeros, shape, jnp.float32)
        y = x.astype(jnp.float32)
        y = y - y.mean(axis, keepdims=True)
        y = y * jax.lax.rsqrt((y * y).mean(axis, keepdims=True) + EPSILON)
        return (y * scale[None, None] + bias[None, None]).astype(x.dtype)


class Positions(nn.Module):
    """A grouped convolution over the frames, which tells where each of them stands."""

    config: Config

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L D"]:
        c = self.config
        taps = c.position_taps
        width = x.shape[-1]
        if width % c.position_groups:
            raise ConfigError(f"the width {width} is no multiple of {c.position_groups} groups")
        part = nn.with_logical_partitioning
        std = 2 * (taps * width) ** -0.5  # the published code's
        init = part(nn.initializers.normal(std), ("patch", None, "embed"))
        shape = (taps, width // c.position_groups, width)
        kernel = self.param("kernel", init, shape, jnp.float32)
        if c.position_norm == "batch":
            x = FrozenNorm(name="norm")(x[:, None])[:, 0]
        else:
            lengths = jnp.sqrt((kernel**2).sum((1, 2)))
            # a fresh kernel has its own lengths
            scale = self.param("scale", part(lambda key: lengths, ("patch",)))
            kernel = kernel * (scale / lengths)[:, None, None]
        before = taps // 2
        y = convolve(
            x, kernel, padding=(before, taps - 1 - before), groups=c.position_groups,
            dtype=c.transformer.dtype,
        )  # fmt: skip
        zeros = part(nn.initializers.zeros, ("embed",))
        bias = self.param("bias", zeros, (width,), jnp.float32)
        return ACTIVATIONS[c.front_activation](y + bias.astype(x.dtype)[None, None])


class Shortening(nn.Module):
    """The adapter: frames -> fewer frames."""

    config: Config

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B M E"]:
        adapter = self.config.adapter
        # its norm has an epsilon of its own
        t = dataclasses.replace(self.config.transformer, norm_epsilon=EPSILON)
        if adapter.width != t.width:
            init = nn.initializers.normal(0.02)
            x = Dense(
                (adapter.width,), ("embed", None), kernel_init=init, dtype=t.dtype,
                name="projection",
            )(x)  # fmt: skip
            x = layer_norm(t, "norm", axis=None)(x)
        for i in range(adapter.layers):
            x = Convolution(
                2 * adapter.width, adapter.taps, adapter.stride, padding=(1, 1), dtype=t.dtype,
                kernel_init=nn.initializers.he_normal(), name=f"conv_{i}",
            )(x)  # fmt: skip
            x = nn.glu(x)
        return x


class Model(nn.Module):
    """Speech encoder."""

    config: Config

    @nn.nowrap
    def frame_mask(self, mask: Bool[Array, "B T"]) -> Bool[Array, "B L"]:
        """Which frames are made of sound alone, from which samples are."""
        return frame_mask(self.config, mask)

    def encode_audio(
        self,
        samples: Float[Array, "B T"],
        mask: Bool[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B L D"]:
        """Samples -> one vector for each frame; those of `frame_mask` are sound."""
        return self(samples, mask, train=train).tokens

    @nn.compact
    def __call__(
        self,
        samples: Float[Array, "B T"],
        mask: Bool[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Output:
        """Samples of zero mean and unit variance, padded behind -> vectors and logits of frames.

        Args:
          mask: True = sound. None: as "group" models were trained, zeros behind a clip are sound.

        Raises:
          ValueError: too few samples for one frame.
        """
        c = self.config
        t = c.transformer
        if frames(c, samples.shape[1]) < 1:
            raise ValueError(f"{samples.shape[1]} samples are too few for one frame")
        x = Front(c, name="front")(samples)
        if c.projection_norm:
            x = layer_norm(t, "projection_norm", axis=None)(x)
        kwargs = dict(kernel_init=nn.initializers.normal(0.02), dtype=t.dtype)
        x = Dense((t.width,), (None, "embed"), name="projection", **kwargs)(x)
        allowed = None
        if mask is not None:
            # the frames before the adapter, which is not told what is padding
            valid = frame_mask(dataclasses.replace(c, adapter=None), mask)
            x = jnp.where(valid[..., None], x, 0)
            allowed = attention_mask(valid, x.shape[1], causal=False)
        x = x + Positions(c, name="positions")(x)
        norm = layer_norm(t, "norm")
        x = norm(x) if t.norm == "post" else x
        x = nn.Dropout(t.dropout, deterministic=not train)(x)
        x = transformer.Transformer(t, train, name="transformer")(x, allowed)
        x = norm(x) if t.norm == "pre" else x
        if c.adapter is not None:
            x = Shortening(c, name="adapter")(x)
        if c.letters is None:
            return Output(x, None)
        logits = Dense((c.letters,), ("embed", "vocab"), name="head", **kwargs)(x)
        return Output(x, logits.astype(jnp.float32))


_LAYER = dict(front_norm="layer", front_bias=True)


def inputs(config: Config) -> tuple[Array, ...]:
    """What the model is called with to make its parameters, one row: samples for one frame."""
    length = 1
    while frames(config, length) < 1:
        length *= 2
    return (jnp.zeros((1, length)),)


VARIANTS = {
    "base": Config(),  # HuBERT's base too
    "large": Config(transformer=dataclasses.replace(LARGE, norm="post")),  # LibriSpeech alone
    "large-lv60": Config(transformer=LARGE, **_LAYER),  # Libri-Light; XLS-R 300M, HuBERT large too
    "hubert-xlarge": Config(
        transformer=dataclasses.replace(LARGE, width=1280, layers=48, hidden=5120), **_LAYER
    ),
}
