"""A sound and its words on the unit sphere: the pair's mathematics, with a tower of its own."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers import transformer
from mmjax.layers.dense import Dense
from mmjax.models.text import Config as Text
from mmjax.models.text import Model as TextModel

SMALL = transformer.Config(width=32, layers=1, heads=2, hidden=64)


@dataclasses.dataclass(frozen=True)
class Audio:
    bins: int = 16  # of the mel scale
    body: transformer.Config = SMALL  # over the frames


@dataclasses.dataclass(frozen=True)
class Config:
    audio: Audio = Audio()  # the sound tower
    text: Text = Text(100, 8, SMALL, causal=False, pool="mean")  # the text tower
    embedding: int = 16  # E
    bias_init: float | None = None  # of the sigmoid loss; None: softmax


class Model(nn.Module):
    config: Config

    def setup(self):
        config = self.config
        self.frames = Dense((config.audio.body.width,), ("patch", "embed"))
        self.audio = transformer.Transformer(config.audio.body)
        self.text = TextModel(config.text)
        self.audio_head = Dense((config.embedding,), ("embed", "joint"))
        self.text_head = Dense((config.embedding,), ("embed", "joint"))
        self.log_scale = self.param("log_scale", nn.initializers.constant(2.0), (), jnp.float32)

    def encode_audio(self, audio, *, train=False):
        return unit(self.audio_head(self.audio(self.frames(audio)).mean(1)))

    def encode_text(self, ids, mask=None, packed=None, *, train=False):
        return unit(self.text_head(self.text(ids, mask, packed, train=train).pooled))

    def scale_and_bias(self):
        return jnp.exp(self.log_scale), None

    def __call__(self, audio, ids, mask=None):
        return self.encode_audio(audio), self.encode_text(ids, mask)


def unit(x):
    return x / jnp.sqrt((x * x).sum(-1, keepdims=True) + 1e-9)


def inputs(config):
    return (
        jax.ShapeDtypeStruct((1, 50, config.audio.bins), jnp.float32),
        jax.ShapeDtypeStruct((1, 4), jnp.int32),
    )
