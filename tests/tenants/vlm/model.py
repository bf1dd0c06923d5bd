"""Every patch of a picture before a question: a GPT-2 that reads embeddings."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjax.layers import transformer
from mmjax.layers.dense import Dense
from mmjax.layers.patches import patchify
from mmjax.models import gpt2

SMALL = transformer.Config(width=32, layers=2, heads=2, hidden=64, initialisation="gpt2")


@dataclasses.dataclass(frozen=True)
class Config:
    decoder: gpt2.Config = gpt2.Config(vocab_size=64, context_length=64, transformer=SMALL)
    image_size: int = 16  # pixels along each edge
    patch_size: int = 8  # pixels along each edge


class Model(nn.Module):
    config: Config

    def setup(self):
        self.decoder = gpt2.Model(self.config.decoder)
        width = self.config.decoder.transformer.width
        self.projector = Dense((width,), ("patch", "embed"))

    def read(self, images, ids, mask):
        """Vectors of the patches and the tokens behind them, and which are real."""
        patches = patchify(images, self.config.patch_size)
        patches = self.projector(patches.reshape(len(images), -1, patches.shape[-1]))
        vectors = jnp.concatenate([patches, self.decoder.embed(ids)], axis=1)
        seen = jnp.ones(patches.shape[:2], bool)
        return vectors, jnp.concatenate([seen, mask], axis=1)

    def __call__(self, images, ids, mask):
        """Logits of the token behind each one, [B, L, V]."""
        vectors, mask = self.read(images, ids, mask)
        logits = self.decoder(vectors, mask).logits
        return logits[:, -ids.shape[1] :]

    def prefill(self, images, ids, mask, slots):
        vectors, mask = self.read(images, ids, mask)
        return self.decoder.prefill(vectors, mask, slots=slots, logits_at="last")

    def extend(self, ids, cache):
        return self.decoder.extend(ids, cache)


def inputs(config):
    """Shapes of what the model is called with."""
    size = config.image_size
    return (
        jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32),
        jax.ShapeDtypeStruct((1, 4), jnp.int32),
        jax.ShapeDtypeStruct((1, 4), bool),
    )
