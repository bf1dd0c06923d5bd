"""A tower for sounds, as a package of a user's own would have it: Config, Model, inputs."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers.dense import Dense
from mmjax.layers.pooling import masked_mean


@dataclasses.dataclass(frozen=True)
class Config:
    bins: int = 5  # of a spectrogram
    width: int = 12  # of the pooled vector
    frames: int = 6  # of one sound


class Output(NamedTuple):
    tokens: jax.Array  # [B, T, D]
    pooled: jax.Array  # [B, D]


class Model(nn.Module):
    config: Config

    @nn.compact
    def __call__(self, frames, mask=None, *, train=False):
        tokens = nn.gelu(Dense((self.config.width,), ("bins", "embed"), name="in")(frames))
        return Output(tokens, masked_mean(tokens, mask))


def inputs(config: Config) -> tuple:
    return (jax.ShapeDtypeStruct((1, config.frames, config.bins), jnp.float32),)
