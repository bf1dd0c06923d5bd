"""What a language model hears with: an encoder of sound, frames side by side, a projector.

* Whisper's encoder over log-mel frames (Qwen2-Audio, https://arxiv.org/abs/2407.10759), or
  wav2vec 2.0 over samples.
* `stack` neighbouring vectors side by side become one token (SLAM-ASR,
  https://arxiv.org/abs/2402.08846): fewer places of a prompt, and nothing is averaged away. The
  last of a clip is filled up with zeros.
* A clip makes as many tokens as its own length gives, whatever it was padded to: `tokens` counts
  them, `valid` says which they are.

Letters: B clips, T frames or samples, M mel bins, C vectors of the encoder, E their width, K
    tokens, D width of the language model.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers.places import as_mask
from mmjax.layers.projectors import linear, mlp
from mmjax.models import wav2vec2, whisper_encoder
from mmjax.models.whisper_encoder import Count
from mmjax.typing import Array, Bool, Float, Positive, Shaped


@dataclasses.dataclass(frozen=True)
class Config:
    encoder: whisper_encoder.Config | wav2vec2.Config = whisper_encoder.Config()  # of the sound
    stack: Positive = 1  # neighbouring vectors of the encoder that lie side by side in a token
    # from the stacked vectors to what the language model reads
    projector: linear.Config | mlp.Config = mlp.Config()
    # whether the encoder is told what is padding. False: it is silence to it, as to Whisper, or
    # sound, as to wav2vec 2.0 "base"
    masked: bool = True

    def __post_init__(self) -> None:
        if getattr(self.encoder, "letters", None) is not None:
            raise ConfigError("encoder.letters is for CTC: a language model reads vectors")

    def tokens(self, length: Count) -> Count:
        """K: of a prompt, for clips of so many frames or samples."""
        count = -(-vectors(self.encoder, length) // self.stack)
        return count * (count > 0)


def vectors(encoder: whisper_encoder.Config | wav2vec2.Config, length: Count) -> Count:
    """C: of an encoder, for clips of so many frames or samples; 0 or less: too short."""
    if isinstance(encoder, wav2vec2.Config):
        return wav2vec2.frames(encoder, length)
    return whisper_encoder.tokens(encoder, length)


class Heard(NamedTuple):
    """What stands in the places of audio tokens."""

    tokens: Float[Array, "B K D"]
    valid: Bool[Array, "B K"]  # True: of the clip's own length


class Model(nn.Module):
    """Sound -> tokens."""

    config: Config
    width: int | None = None  # D; None: the encoder's

    def setup(self):
        c = self.config
        self.encoder = _module(c.encoder).Model(c.encoder)
        width = c.encoder.transformer.width if self.width is None else self.width
        self.projector = _module(c.projector).Model(c.projector, width)

    def __call__(
        self,
        audio: Float[Array, "B T M"] | Float[Array, "B T"],
        mask: Shaped[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Heard:
        """Clips, padded behind.

        Args:
          mask: True = sound; None: all of it.
        """
        c = self.config
        length = jnp.full(len(audio), audio.shape[1])
        mask = as_mask(mask)
        if mask is not None:
            length = mask.sum(1)
        x = self.encoder(audio, mask if c.masked else None, train=train)
        x = x.tokens if isinstance(c.encoder, wav2vec2.Config) else x
        own = jnp.arange(x.shape[1])[None] < vectors(c.encoder, length)[:, None]
        x = jnp.where(own[..., None], x, 0)
        x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % c.stack), (0, 0)))
        x = x.reshape(len(x), x.shape[1] // c.stack, -1)
        valid = jnp.arange(x.shape[1])[None] < c.tokens(length)[:, None]
        return Heard(self.projector(x), valid)


def _module(config: Any) -> Any:
    """The module that defines a Config, and its Model."""
    return importlib.import_module(type(config).__module__)


def inputs(config: Config) -> tuple[Array, ...]:
    """What the model is called with to make its parameters, one row."""
    return _module(config.encoder).inputs(config.encoder)


VARIANTS = {
    "qwen2-audio": Config(whisper_encoder.VARIANTS["qwen2-audio"], projector=linear.Config()),
}
