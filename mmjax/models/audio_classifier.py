"""A tower of sound with a classifier on its pooled vector: AST as it was published.

Gong et al. 2021, https://arxiv.org/abs/2104.01778.

* A norm and a linear map on what is pooled. AudioSet has several classes a clip: each logit stands
  for itself there (a sigmoid), and they still say which class fits best.

Letters: B clips, T frames or samples, M mel bins, L tokens, D width, V classes.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from mmjax.layers.dense import Dense
from mmjax.layers.transformer import layer_norm
from mmjax.models import ast, pooled_audio
from mmjax.typing import Array, Float, Natural, Shaped


@dataclasses.dataclass(frozen=True)
class Config:
    audio: ast.Config | pooled_audio.Config = ast.VARIANTS["tiny"]  # the tower
    classes: Natural = 0  # V; 0: there is no classifier
    labels: tuple[str, ...] = ()  # names of the classes, for people


class Output(NamedTuple):
    """What the model returns."""

    tokens: Float[Array, "B L D"]  # of the tower
    pooled: Float[Array, "B D"]
    logits: Float[Array, "B V"]  # float32; V = 0 without a classifier


class Model(nn.Module):
    """Audio classifier."""

    config: Config

    def setup(self):
        c = self.config
        body = getattr(c.audio, "encoder", c.audio).transformer
        self.audio = importlib.import_module(type(c.audio).__module__).Model(c.audio)
        if c.classes:
            self.classifier_norm = layer_norm(body, None)
            self.classifier = Dense((c.classes,), ("embed", "joint"), dtype=body.dtype)

    def __call__(
        self,
        audio: Float[Array, "B T M"] | Float[Array, "B T"],
        mask: Shaped[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Output:
        """What the tower reads and its mask (True = sound) -> tokens, a pooled vector, logits."""
        tokens, pooled = self.audio(audio, mask, train=train)
        logits = jnp.zeros((len(pooled), 0), jnp.float32)
        if self.config.classes:
            logits = self.classifier(self.classifier_norm(pooled)).astype(jnp.float32)
        return Output(tokens, pooled, logits)

    def encode_audio(
        self,
        audio: Float[Array, "B T M"] | Float[Array, "B T"],
        mask: Shaped[Array, "B T"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "B D"]:
        """The pooled vector, of whatever length."""
        return self(audio, mask, train=train).pooled


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    return importlib.import_module(type(config.audio).__module__).inputs(config.audio)


VARIANTS = {
    "tiny": Config(classes=10),
    "AST-B": Config(ast.VARIANTS["B"], classes=527),  # AudioSet's
}
