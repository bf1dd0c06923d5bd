"""A tower of clips made of a tower of pictures: each frame is read, then what follows what.

* Any image tower, of a loaded CLIP for instance: its parameters lie under "image" with the paths
  that they have there, so `warm_start` fills them in.
* A transformer over the frames' vectors, with a position for each time and a sum with what went in,
  then the mean of the real frames: X-CLIP's multi-frame integration
  (https://arxiv.org/abs/2208.02816), CLIP4Clip's "sequential" (https://arxiv.org/abs/2104.08860).
  Without one, the mean of the frames.
* X-CLIP's frames hear of each other on their way through the image tower: `messages`.

Letters: B clips, T frames, H and W pixels, L tokens of a frame, D width of the image tower, E of
    what leaves.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers import pooling, transformer
from mmjax.layers.attention import attention_mask
from mmjax.layers.dense import Dense
from mmjax.layers.places import as_mask
from mmjax.layers.space_time import Messages, SpaceTime
from mmjax.layers.transformer import embedding
from mmjax.models import resnet, vit
from mmjax.models.whisper_encoder import Count
from mmjax.typing import Array, Float, Natural, Positive, Shaped


@dataclasses.dataclass(frozen=True)
class Config:
    image: vit.Config | resnet.Config = vit.VARIANTS["tiny/16"]  # the tower of each frame
    frames: Positive = 8  # T, of the longest clip
    projection: Natural = 0  # E, of a linear map behind each frame's vector; 0: none, E = D
    # over the frames' vectors, its width is E; None: their mean
    transformer: transformer.Config | None = transformer.Config(layers=1)
    messages: bool = False  # frames hear of each other in each block of the image tower

    def __post_init__(self) -> None:
        if self.messages and getattr(self.image, "pool", None) != "class":
            raise ConfigError("messages are said by class tokens: image is a vit with pool='class'")
        if self.transformer is not None and self.transformer.width != self.width:
            raise ConfigError(
                f"transformer.width={self.transformer.width} must be that of a frame's vector, "
                f"{self.width}"
            )

    def vectors(self, frames: Count) -> Count:
        """One of each frame that is there."""
        return frames

    @property
    def time_weights(self) -> str:
        """Path of the attention over the frames' vectors; "": there is none."""
        return "" if self.transformer is None else "transformer/blocks/attention/weights"

    def by_time(self, weights: Float[Array, "lines L S"]) -> Float[Array, "lines S"]:
        """How much of these weights falls on each frame."""
        return weights.mean(1)

    @property
    def width(self) -> int:
        """E."""
        if self.projection:
            return self.projection
        image = self.image
        return image.embedding if isinstance(image, resnet.Config) else image.transformer.width


class Output(NamedTuple):
    """What the tower returns."""

    tokens: Float[Array, "B T E"]  # one a frame, behind the transformer
    pooled: Float[Array, "B E"]  # their mean
    places: Float[Array, "B T L D"]  # what the image tower says of each frame


class Model(nn.Module):
    """Video tower."""

    config: Config

    @nn.compact
    def __call__(
        self,
        video: Float[Array, "B T H W C"],
        mask: Shaped[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Output:
        """Normalised pixels -> a vector for each frame and for the clip.

        Args:
          mask: True = a frame of the clip; None: all are.

        Raises:
          ValueError: more frames than the config has.
        """
        c = self.config
        batch, times = video.shape[:2]
        if times > c.frames:
            raise ValueError(f"a clip of {times} frames for a model of at most {c.frames}")
        valid = as_mask(mask)
        tower = self._tower(times, valid)
        read = tower(video.reshape(batch * times, *video.shape[2:]), train=train)
        x = read.pooled
        if c.projection:
            axes = ("embed", "joint")
            init = nn.initializers.normal(x.shape[-1] ** -0.5)
            head = Dense((c.projection,), axes, bias=False, kernel_init=init, name="projection")
            x = head(x)
        x = x.reshape(batch, times, -1)
        if c.transformer is not None:
            shape = (c.frames, c.width)
            table = embedding("positions", self, shape, 0.01, ("position", "embed"))
            y = (x + table[None, :times]).astype(c.transformer.stream)
            stack = transformer.Transformer(c.transformer, train, name="transformer")
            x = x + stack(y, attention_mask(valid, times, causal=False)).astype(x.dtype)
        places = read.tokens.reshape(batch, times, *read.tokens.shape[1:])
        return Output(x, pooling.masked_mean(x, valid), places)

    def _tower(self, times: int, valid: Array | None) -> nn.Module:
        image = self.config.image
        if self.config.messages:
            return _Talking(image, times, valid, name="image")
        return importlib.import_module(type(image).__module__).Model(image, name="image")


class _Talking(vit.Model):
    """An image tower whose rows are the frames of clips, which hear of each other."""

    times: int = 1  # T
    valid: Any = None  # [B, T], True = a frame of the clip; None: all are

    def _blocks(self, train: bool) -> Any:
        stack = SpaceTime(self.config.transformer, Messages, self.times, train, name="transformer")
        return lambda x, _: stack(x, self.valid)


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    image = config.image
    shape = (1, config.frames, image.image_size, image.image_size, image.channels)
    return (jax.ShapeDtypeStruct(shape, jnp.float32),)


def _over(size: str, layers: int) -> Config:
    image = vit.VARIANTS[size]
    width = image.transformer.width
    body = transformer.Config(width, layers, width // 64, 4 * width, norm_epsilon=1e-5)
    return Config(image, transformer=body)


VARIANTS = {
    "tiny/16": _over("tiny/16", 1),
    "B/32": _over("B/32", 4),
    "B/16": _over("B/16", 4),
    "L/14": _over("L/14", 4),
    "B/32-mean": Config(vit.VARIANTS["B/32"], transformer=None),
}
