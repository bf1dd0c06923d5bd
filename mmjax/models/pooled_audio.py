"""An encoder of sound with one vector for a clip: a tower of the dual encoder.

* Whisper's encoder over log-mel frames (https://arxiv.org/abs/2212.04356), or wav2vec 2.0 and
  HuBERT over samples (https://arxiv.org/abs/2006.11477, https://arxiv.org/abs/2106.07447).
* What is pooled are the vectors of a clip's own length, whatever it was padded to: their mean, or
  what a learned query finds in them.

Letters: B clips, T frames or samples, M mel bins, C vectors of the encoder, D their width.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers import pooling
from mmjax.layers.places import as_mask
from mmjax.models import wav2vec2, whisper_encoder
from mmjax.typing import Array, Float, Shaped


@dataclasses.dataclass(frozen=True)
class Config:
    encoder: whisper_encoder.Config | wav2vec2.Config = whisper_encoder.Config()  # of the sound
    # from the encoder's vectors to one: the mean of those with sound, attention to them
    pool: Literal["mean", "attention"] = "mean"
    # whether the encoder is told what is padding. False: it is silence to it, as to Whisper, or
    # sound, as to wav2vec 2.0 "base"
    masked: bool = True

    def __post_init__(self) -> None:
        if getattr(self.encoder, "letters", None) is not None:
            raise ConfigError("encoder.letters is for CTC: a clip's vector is made of frames")


class Output(NamedTuple):
    """What the tower returns."""

    tokens: Float[Array, "B C D"]
    pooled: Float[Array, "B D"]


class Model(nn.Module):
    """Audio tower."""

    config: Config

    @nn.compact
    def __call__(
        self,
        audio: Float[Array, "B T M"] | Float[Array, "B T"],
        mask: Shaped[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Output:
        """Clips, padded behind -> vectors and their pooled one.

        Args:
          mask: True = sound; None: all of it.
        """
        c = self.config
        mask = as_mask(mask)
        encoder = _module(c.encoder).Model(c.encoder, name="encoder")
        x = encoder(audio, mask if c.masked else None, train=train)
        x = x.tokens if isinstance(c.encoder, wav2vec2.Config) else x
        own = None
        if mask is not None:
            count = c.encoder.vectors(mask.sum(1))
            # a clip too short for a vector has the first one, made of its sound and silence
            own = jnp.arange(x.shape[1])[None] < jnp.maximum(count, 1)[:, None]
        if c.pool == "mean":
            return Output(x, pooling.masked_mean(x, own))
        body = dataclasses.replace(c.encoder.transformer, width=x.shape[-1])
        return Output(x, pooling.AttentionPool(body, name="pool")(x, own))


def _module(config: Any) -> Any:
    """The module that defines a Config, and its Model."""
    return importlib.import_module(type(config).__module__)


def inputs(config: Config) -> tuple[Array, ...]:
    """What the model is called with to make its parameters, one row."""
    return _module(config.encoder).inputs(config.encoder)


VARIANTS = {
    "whisper-tiny": Config(masked=False),
    "wav2vec2-base": Config(wav2vec2.VARIANTS["base"], masked=False),  # HuBERT's too
    "wav2vec2-large-lv60": Config(wav2vec2.VARIANTS["large-lv60"]),
}
