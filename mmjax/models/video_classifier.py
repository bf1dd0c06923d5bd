"""A video tower with a classifier on its pooled vector, or with the layer that it was trained with.

* Any tower of clips: tubelets (video_vit.py), pictures and what follows what (frame_tower.py), or
  scales of time (towers/hierarchical.py).
* Several questions at once have a classifier each, on the same vector, or each on what a query of
  its own finds in the tower's.
* ViViT as it was published has a pooler, a layer and tanh, where it has no classifier.

Letters: B batch, T frames, L tokens, D width, V classes.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers.dense import Dense
from mmjax.layers.places import as_mask
from mmjax.layers.pooling import AttentionPool
from mmjax.models import frame_tower, video_vit
from mmjax.models.towers import hierarchical
from mmjax.typing import Array, Float, Natural, Positive, Shaped


@dataclasses.dataclass(frozen=True)
class Head:
    """One question of several."""

    name: str  # of the label
    classes: Positive  # V


@dataclasses.dataclass(frozen=True)
class Config:
    # the tower
    video: video_vit.Config | frame_tower.Config | hierarchical.Config = video_vit.Config()
    classes: Natural = 0  # V; 0: there is no classifier
    pooler: Natural = 0  # width of a layer and tanh on what is pooled; 0: there is none
    labels: tuple[str, ...] = ()  # names of the classes, for people
    heads: tuple[Head, ...] = ()  # several questions in the place of `classes`
    # each head reads all of the tower's vectors with a query of its own; False: their mean
    queries: bool = False

    def __post_init__(self) -> None:
        if self.queries and not self.heads:
            raise ConfigError("queries are those of several heads: name these in `heads`")
        if self.heads and self.classes:
            raise ConfigError(
                f"classes={self.classes} are those of one classifier; with heads "
                f"({', '.join(head.name for head in self.heads)}) leave it 0"
            )


class Output(NamedTuple):
    """What the model returns."""

    tokens: Float[Array, "B L D"]  # as the tower gives them
    pooled: Float[Array, "B D"]  # after the pooler, where there is one
    # V = 0 without a classifier; of several heads by their names
    logits: Float[Array, "B V"] | Mapping[str, Float[Array, "B V"]]


class Model(nn.Module):
    """Classifier of clips."""

    config: Config

    def setup(self):
        c = self.config
        self.video = importlib.import_module(type(c.video).__module__).Model(c.video)
        self.pooler = self._head(c.pooler)
        self.classifier = self._head(c.classes)
        self.heads = {head.name: self._head(head.classes) for head in c.heads}
        self.pool = AttentionPool(c.video.transformer, len(c.heads)) if c.queries else None

    def _head(self, width: int) -> Dense | None:
        dtype = getattr(getattr(self.config.video, "transformer", None), "dtype", "float32")
        return Dense((width,), ("embed", "joint"), dtype=dtype) if width else None

    def __call__(
        self,
        video: Float[Array, "B T H W C"],
        mask: Shaped[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Output:
        """Normalised pixels (True in the mask = a real frame) -> tokens, a vector, logits."""
        read = self.video(video, mask, train=train)
        pooled = read.pooled
        logits = jnp.zeros((len(pooled), 0), pooled.dtype)
        if self.classifier:
            logits = self.classifier(pooled)
        if self.heads:
            found = self._found(read, video, mask)
            logits = {name: head(found[:, i]) for i, (name, head) in enumerate(self.heads.items())}
        if self.pooler:
            pooled = jnp.tanh(self.pooler(pooled))
        return Output(read.tokens, pooled, logits)

    def _found(
        self, read: Any, video: Array, mask: Shaped[Array, "B T"] | None
    ) -> Float[Array, "B heads D"]:
        """What each head reads."""
        if self.pool is None:
            return jnp.repeat(read.pooled[:, None], len(self.heads), axis=1)
        valid = as_mask(mask)
        length = jnp.full(len(video), video.shape[1]) if valid is None else valid.sum(1)
        count = self.config.video.vectors(length)
        return self.pool(read.tokens, jnp.arange(read.tokens.shape[1])[None] < count[:, None])

    def encode_video(
        self,
        video: Float[Array, "B T H W C"],
        mask: Shaped[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B D"]:
        """Normalised pixels -> the pooled vector, of whatever length."""
        return self(video, mask, train=train).pooled


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    return importlib.import_module(type(config.video).__module__).inputs(config.video)


VARIANTS = {
    name: Config(tower, classes=400) for name, tower in video_vit.VARIANTS.items()
}  # of Kinetics-400
