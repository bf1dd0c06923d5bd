"""The pair of CLIP with a head that names the kind of its picture: two tasks share it."""

import dataclasses

import jax
import jax.numpy as jnp

from mmjax.layers.dense import Dense
from mmjax.models import clip


@dataclasses.dataclass(frozen=True)
class Config(clip.Config):
    classes: int = 8  # kinds of pictures


class Model(clip.Model):
    config: Config

    def setup(self):
        super().setup()
        self.kind = Dense((self.config.classes,), ("joint", None))

    def classify(self, images, *, train=False):
        """Pixels [B, H, W, 3] -> logits [B, classes]."""
        return self.kind(self.encode_image(images, train=train))

    def __call__(self, images, ids, mask=None, packed=None, *, train=False):
        self.classify(images)
        return super().__call__(images, ids, mask, packed, train=train)


def inputs(config):
    size = config.image.image_size
    return (
        jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32),
        jax.ShapeDtypeStruct((1, 4), jnp.int32),
    )
