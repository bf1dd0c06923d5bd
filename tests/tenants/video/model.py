"""Frames as tokens of a transformer, and a class for the whole."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers import transformer
from mmjax.layers.dense import Dense
from mmjax.layers.transformer import embedding


@dataclasses.dataclass(frozen=True)
class Config:
    frames: int = 6  # T
    side: int = 8  # pixels along each edge
    classes: int = 4
    body: transformer.Config = transformer.Config(width=32, layers=1, heads=2, hidden=64)


class Model(nn.Module):
    config: Config

    @nn.compact
    def __call__(self, video):
        """[B, T, H, W, 3] -> logits [B, classes]."""
        config = self.config.body
        width = config.width
        frames = video.reshape(*video.shape[:2], -1)
        x = Dense((width,), ("patch", "embed"), name="frame")(frames)
        shape = (self.config.frames, width)
        positions = embedding("times", self, shape, 0.02, ("position", "embed"))
        x = transformer.Transformer(config, name="transformer")(x + positions[None])
        return Dense((self.config.classes,), ("embed", None), name="head")(x.mean(1))


def inputs(config):
    shape = (1, config.frames, config.side, config.side, 3)
    return (jax.ShapeDtypeStruct(shape, jnp.float32),)
