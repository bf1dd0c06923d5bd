"""What a language model reads of a thing that is no text: a tower, its tokens side by side, a
projector.

* Sounds: Whisper's encoder over log-mel frames (Qwen2-Audio, https://arxiv.org/abs/2407.10759),
  wav2vec 2.0 over samples, spectrogram transformers, the music encoder. Clips: tubelets, or frames
  one by one (Video-LLaVA, https://arxiv.org/abs/2311.10122), minutes at several scales.
* Any tower will do that is called with a thing and the mask of what of it is there, and returns
  vectors [B, C, E], or a result that has them as `tokens`. Its Config says with `vectors(length)`
  how many of them, those in front, are of a thing of so many units of its mask; `takes_mask` is
  False where all things are of one length.
* `stack` neighbouring vectors side by side become one token (SLAM-ASR,
  https://arxiv.org/abs/2402.08846): fewer places of a prompt, and nothing is averaged away. The
  last of a thing is filled up with zeros.
* A thing makes as many tokens as its own length gives, whatever it was padded to: `tokens` counts
  them, `valid` says which they are.

Letters: B things, T units of the mask (frames, samples), C vectors of the tower, E their width, K
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
from mmjax.models import ast, frame_tower, htsat, music, video_vit, wav2vec2, whisper_encoder
from mmjax.models.towers import hierarchical
from mmjax.models.whisper_encoder import Count
from mmjax.typing import Array, Bool, Float, Natural, Positive, Shaped

Tower = (
    whisper_encoder.Config
    | wav2vec2.Config
    | ast.Config
    | htsat.Config
    | music.Config
    | video_vit.Config
    | frame_tower.Config
    | hierarchical.Config
)


@dataclasses.dataclass(frozen=True)
class Config:
    encoder: Tower = whisper_encoder.Config()  # the tower
    stack: Positive = 1  # neighbouring vectors of the tower that lie side by side in a token
    # from the stacked vectors to what the language model reads
    projector: linear.Config | mlp.Config = mlp.Config()
    # whether the tower is told what is padding. False: it is silence to it, as to Whisper, or
    # sound, as to wav2vec 2.0 "base"
    masked: bool = True
    # K of every thing, for which the data leave room in a prompt; 0: it follows from the length
    count: Natural = 0

    def __post_init__(self) -> None:
        if getattr(self.encoder, "letters", None) is not None:
            raise ConfigError("encoder.letters is for CTC: a language model reads vectors")
        if self.count and self.count != self.tokens(self.longest):
            raise ConfigError(
                f"the data leave room for {self.count} tokens, and the tower makes "
                f"{self.tokens(self.longest)}: say so as `tokens` beside the other sizes in "
                "data.processor"
            )

    @property
    def longest(self) -> int:
        """T of a whole thing, where it has a length; 1 where things are all alike."""
        return getattr(self.encoder, "frames", 1)

    def tokens(self, length: Count) -> Count:
        """K: of a prompt, for things of so many units."""
        count = -(-self.encoder.vectors(length) // self.stack)
        return count * (count > 0)


class Read(NamedTuple):
    """What stands in the places of a sense's tokens."""

    tokens: Float[Array, "B K D"]
    valid: Bool[Array, "B K"]  # True: of the thing's own length


class Model(nn.Module):
    """Things -> tokens."""

    config: Config
    width: int | None = None  # D; None: the tower's

    @nn.compact
    def __call__(
        self,
        things: Float[Array, "B T ..."],
        mask: Shaped[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Read:
        """Things, padded behind.

        Args:
          mask: True = there; None: all of it.
        """
        c = self.config
        length = jnp.full(len(things), things.shape[1])
        mask = as_mask(mask)
        if mask is not None:
            length = mask.sum(1)
        told = {"mask": mask} if c.masked and getattr(c.encoder, "takes_mask", True) else {}
        x = _module(c.encoder).Model(c.encoder, name="encoder")(things, **told, train=train)
        x = getattr(x, "tokens", x)
        width = x.shape[-1] if self.width is None else self.width
        own = jnp.arange(x.shape[1])[None] < c.encoder.vectors(length)[:, None]
        x = jnp.where(own[..., None], x, 0)
        x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % c.stack), (0, 0)))
        x = x.reshape(len(x), x.shape[1] // c.stack, -1)
        valid = jnp.arange(x.shape[1])[None] < c.tokens(length)[:, None]
        return Read(_module(c.projector).Model(c.projector, width, name="projector")(x), valid)


def _module(config: Any) -> Any:
    """The module that defines a Config, and its Model."""
    return importlib.import_module(type(config).__module__)


def inputs(config: Config) -> tuple[Any, ...]:
    """What the model is called with to make its parameters, one row."""
    return _module(config.encoder).inputs(config.encoder)[:1]


VARIANTS = {
    "qwen2-audio": Config(whisper_encoder.VARIANTS["qwen2-audio"], projector=linear.Config()),
}
