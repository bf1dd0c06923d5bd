"""A vision transformer with heads on its learned tokens: ViT and DeiT as they were published.

ViT https://arxiv.org/abs/2010.11929, DeiT https://arxiv.org/abs/2012.12877.

* A pooler (a layer and tanh) on the class token, or a classifier on the token itself.
* DeiT's distillation token may have a classifier of its own; the logits are then the mean of both.

Letters: B batch, L tokens, D width, V classes.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from mmjax.config import ConfigError
from mmjax.layers.dense import Dense
from mmjax.layers.patches import Patches
from mmjax.models import vit
from mmjax.typing import Array, Float, Natural


@dataclasses.dataclass(frozen=True)
class Config:
    image: vit.Config = vit.VARIANTS["tiny/16"]  # the tower
    classes: Natural = 0  # V, of the classifier on the class token; 0: there is none
    pooler: Natural = 0  # width of a layer and tanh on what is pooled; 0: there is none
    teacher_head: bool = False  # DeiT: another classifier, on the distillation token
    labels: tuple[str, ...] = ()  # names of the classes, for people


class Output(NamedTuple):
    """What the model returns."""

    tokens: Float[Array, "B L D"]  # after the last block and norm
    pooled: Float[Array, "B D"]  # after the pooler, where there is one
    logits: Float[Array, "B V"]  # V = 0 without a classifier


class Model(nn.Module):
    """Image classifier, or a tower with the pooler that it was trained with."""

    config: Config

    def setup(self):
        c = self.config
        if c.teacher_head and not (c.image.distilled and c.classes):
            raise ConfigError("teacher_head needs image.distilled=True and classes")
        self.image = vit.Model(c.image)
        self.pooler = self._head(c.pooler)
        self.classifier = self._head(c.classes)
        self.distillation_classifier = self._head(c.classes * c.teacher_head)

    def _head(self, width: int) -> Dense | None:
        dtype = self.config.image.transformer.dtype
        return Dense((width,), ("embed", "joint"), dtype=dtype) if width else None

    def __call__(self, images: Float[Array, "B H W C"] | Patches, *, train: bool = False) -> Output:
        """Normalised pixels -> tokens, a pooled vector, logits."""
        tokens, pooled = self.image(images, train=train)
        logits = jnp.zeros((len(pooled), 0), pooled.dtype)
        if self.classifier:
            logits = self.classifier(pooled)
        if self.distillation_classifier:
            logits = (logits + self.distillation_classifier(tokens[:, 1])) / 2
        if self.pooler:
            pooled = jnp.tanh(self.pooler(pooled))
        return Output(tokens, pooled, logits)

    def encode_image(
        self, images: Float[Array, "B H W C"] | Patches, *, train: bool = False
    ) -> Float[Array, "B D"]:
        """Normalised pixels -> the pooled vector, of whatever length."""
        return self(images, train=train).pooled


def inputs(config: Config) -> tuple[Any, ...]:
    """Shapes of what the model is called with, one row."""
    return vit.inputs(config.image)


def _classifier(size: str, **fields) -> Config:
    image = dataclasses.replace(vit.VARIANTS[size], **fields)
    body = dataclasses.replace(image.transformer, norm_epsilon=1e-12, initialisation="xavier")
    return Config(dataclasses.replace(image, transformer=body), classes=1000)


VARIANTS = {
    "ViT-B/16": _classifier("B/16"),
    "ViT-L/16": _classifier("L/16"),
    "DeiT-tiny/16": dataclasses.replace(_classifier("tiny/16", distilled=True), teacher_head=True),
    "DeiT-B/16": dataclasses.replace(_classifier("B/16", distilled=True), teacher_head=True),
}
