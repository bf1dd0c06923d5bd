"""A tower of long clips: each frame is read once, then followed over seconds, half a minute and the
whole, and what was found is put together by attention.

* Each scale has a span, counted from the clip's end, and a rate: "short" every frame of the last
  seconds (SlowFast's fast and slow paths, https://arxiv.org/abs/1812.03982), "medium" and "long"
  more time in segments (MViT's pyramid, https://arxiv.org/abs/2104.11227), each with a transformer
  over its vectors. A segment is the mean of what its frames say, so order inside is gone.
* A segment's vector sees the segment before and the one behind besides, by a convolution over time
  (ActionFormer, https://arxiv.org/abs/2202.07925): what follows what, and which way something
  moves, is then there to be read, and need not be found by attention alone.
* Then one transformer over the vectors of all scales: HERO's temporal transformer over local ones
  (https://arxiv.org/abs/2005.00200), joint attention over scales.
* A few frames are read at a time, and again in the backward pass (Chen et al. 2016,
  https://arxiv.org/abs/1604.06174): memory grows with their vectors, not with what a tower keeps.
* Clips have their own lengths: places are counted from the end, padding is behind and changes
  nothing. Frames beyond the longest span are not read.
* A clip's vectors: those of its scales in the order of the config, the latest first in each.

Letters: B clips, T frames, H and W pixels, S frames that are read, G frames of a segment, K vectors
    of a scale, C of all, E width of a frame's vector, D width.
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
from mmjax.layers.attention import WEIGHTS, attention_mask
from mmjax.layers.convolution import Convolution
from mmjax.layers.dense import Dense
from mmjax.layers.placement import rows_apart
from mmjax.layers.places import as_mask
from mmjax.layers.transformer import embedding, layer_norm
from mmjax.models import resnet, vit
from mmjax.models.whisper_encoder import Count
from mmjax.typing import Array, Bool, Float, Natural, Positive, Shaped


@dataclasses.dataclass(frozen=True)
class Scale:
    """A stretch of time and how closely it is looked at."""

    name: str = "long"  # of its parameters
    frames: Natural = 0  # the last ones of a clip, which it sees; 0: all
    segment: Positive = 1  # G: frames that become one vector

    def vectors(self, frames: Count) -> Count:
        """K, of a clip of so many frames."""
        if self.frames:
            frames = frames - (frames - self.frames) * (frames > self.frames)
        return -(-frames // self.segment)


PLACES = 0.5  # deviation of places as they are drawn: about that of what they are added to
SCALES = (Scale("short", 4), Scale("medium", 60, 4), Scale("long", 0, 24))


@dataclasses.dataclass(frozen=True)
class Config:
    image: vit.Config | resnet.Config = vit.VARIANTS["tiny/16"]  # the tower of each frame
    frames: Positive = 480  # T, of the longest clip
    scales: tuple[Scale, ...] = SCALES  # which are there; one alone is a model of one scale
    evidence: Positive = 384  # values that a frame says, before the mean of its segment
    together: Positive = 40  # frames of each clip that are read at once
    fusion: transformer.Config = transformer.Config(layers=2)  # over the vectors of all scales
    transformer: transformer.Config = transformer.Config(layers=2)  # of each scale; its width is D

    def __post_init__(self) -> None:
        names = [scale.name for scale in self.scales]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"scales are {names}: name one at least, and each once")
        if self.transformer.width != self.fusion.width:
            raise ConfigError(
                f"fusion.width={self.fusion.width} must be that of the scales, "
                f"transformer.width={self.transformer.width}"
            )

    def vectors(self, frames: Count) -> Count:
        """C, of a clip of so many frames."""
        return sum(scale.vectors(frames) for scale in self.scales)

    def read(self, frames: int) -> int:
        """S: frames of a batch of so many that some scale sees."""
        return max(min(scale.frames or frames, frames) for scale in self.scales)


class Output(NamedTuple):
    """What the tower returns."""

    tokens: Float[Array, "B C D"]  # those that are there in front
    pooled: Float[Array, "B D"]  # their mean


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
        """Normalised pixels -> vectors of all scales.

        Args:
          mask: True = a frame of the clip, padding is behind; None: all are.

        Raises:
          ValueError: more frames than the config has.
        """
        c = self.config
        times = video.shape[1]
        if times > c.frames:
            raise ValueError(f"a clip of {times} frames for a model of at most {c.frames}")
        valid = as_mask(mask)
        valid = jnp.ones(video.shape[:2], bool) if valid is None else valid
        video, there = last_frames(video, valid.sum(1), c.read(times))
        x = self._frames(video, train)
        found = []
        masks = []
        for scale in c.scales:
            vectors, real = self._scale(scale, x, there, train)
            found.append(vectors)
            masks.append(real)
        y = jnp.concatenate(found, axis=1)
        real = jnp.concatenate(masks, axis=1)
        stack = transformer.Transformer(c.fusion, train, name="fusion")
        y = stack(y, attention_mask(real, y.shape[1], causal=False))
        y = layer_norm(c.fusion, "norm")(y)
        order = jnp.argsort(~real, axis=1, stable=True)  # those that are there first
        y = jnp.take_along_axis(y, order[..., None], axis=1)
        real = jnp.take_along_axis(real, order, axis=1)
        return Output(y, pooling.masked_mean(y, real))

    def _frames(self, video: Float[Array, "B S H W C"], train: bool) -> Float[Array, "B S E"]:
        """The vector of each frame; only these are kept for the backward pass."""
        image = self.config.image
        tower = importlib.import_module(type(image).__module__).Model(image, name="image")
        together = min(self.config.together, video.shape[1])
        batch, times = video.shape[:2]
        video = jnp.pad(video, ((0, 0), (0, -times % together), (0, 0), (0, 0), (0, 0)))
        parts = video.reshape(batch, -1, together, *video.shape[2:]).swapaxes(0, 1)

        def read(tower: nn.Module, carry: None, part: Array) -> tuple[None, Array]:
            flat = rows_apart(part.reshape(-1, *part.shape[2:]))
            pooled = tower(flat, train=train).pooled
            return carry, rows_apart(pooled.reshape(batch, together, -1))

        scan = nn.scan(
            nn.remat(read, prevent_cse=False),
            variable_broadcast="params",
            variable_axes={"intermediates": 0, WEIGHTS: 0},
            split_rngs={"params": False, "dropout": True},
        )
        _, vectors = scan(tower, None, parts)
        return vectors.swapaxes(0, 1).reshape(batch, -1, vectors.shape[-1])[:, :times]

    def _scale(
        self, scale: Scale, x: Float[Array, "B S E"], there: Bool[Array, "B S"], train: bool
    ) -> tuple[Float[Array, "B K D"], Bool[Array, "B K"]]:
        """What a scale says of its segments, and which of them are there; the latest first."""
        c = self.config
        t = c.transformer
        seen = min(scale.frames or x.shape[1], x.shape[1])
        before = -seen % scale.segment  # the first segment may be shorter
        x = jnp.pad(x[:, -seen:], ((0, 0), (before, 0), (0, 0)))
        there = jnp.pad(there[:, -seen:], ((0, 0), (before, 0)))
        count = x.shape[1] // scale.segment
        init = nn.initializers.lecun_normal()
        kwargs = dict(kernel_init=init, dtype=t.dtype)
        x = Dense((c.evidence,), ("embed", "mlp"), name=f"{scale.name}_evidence", **kwargs)(x)
        x = nn.gelu(x).reshape(-1, scale.segment, c.evidence)
        x = pooling.masked_mean(x, there.reshape(-1, scale.segment)).reshape(-1, count, c.evidence)
        near = dict(taps=3, padding=(1, 1))
        x = Convolution(t.width, name=f"{scale.name}_segment", **near, **kwargs)(x)
        x = x[:, ::-1]
        real = there.reshape(-1, count, scale.segment).any(2)[:, ::-1]
        shape = (scale.vectors(c.frames), t.width)
        table = embedding(f"{scale.name}_places", self, shape, PLACES, ("position", "embed"))
        x = (x + table[None, :count]).astype(t.stream)
        stack = transformer.Transformer(t, train, name=scale.name)
        return stack(x, attention_mask(real, count, causal=False)), real


def last_frames(
    video: Float[Array, "B T ..."], length: Shaped[Array, " B"], count: int
) -> tuple[Float[Array, "B S ..."], Bool[Array, "B S"]]:
    """The last `count` frames of each clip, its own last one at the end of the row, and which of
    them are there."""
    number = length[:, None] - count + jnp.arange(count)[None]
    taken = jax.vmap(lambda clip, which: clip[which])(video, jnp.maximum(number, 0))
    return taken, number >= 0


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    image = config.image
    shape = (1, config.frames, image.image_size, image.image_size, image.channels)
    return (jax.ShapeDtypeStruct(shape, jnp.float32),)


VARIANTS = {"tiny/16": Config()}
