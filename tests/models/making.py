"""Models that make something of the table in test_models.py; of the U-Net, which has a row of its
own, what it counts by itself."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from models.sounding import TINY, block, ids, mask

from mmjax import tree
from mmjax.models import text, text_diffusion, unet3d

WORDS = text.Config(vocab_size=32, context_length=6, transformer=TINY, causal=False)
WORDS_SIZE = 32 * 16 + 6 * 16 + 2 * block(16, 32) + 2 * 16
DENOISER = unet3d.Config(
    8, 16, (8,), 1, (True,), head_size=4, groups=4, time="joint", film=True, frames=2
)
FOLDED = text_diffusion.Config(WORDS, DENOISER, fold=2)
EMPTY = dataclasses.replace(FOLDED, nothing="empty", empty=(1, 2))


def alone():
    """Parameters of the denoiser."""
    model = unet3d.Model(DENOISER)
    made = jax.eval_shape(model.init, jax.random.key(0), *unet3d.inputs(DENOISER))
    return tree.count(nn.unbox(made)["params"])


def clips(rows=8):
    samples = jax.random.normal(jax.random.key(6), (rows, 2, 4, 4, 2))
    return samples, jnp.linspace(0, 999, rows), ids(rows), mask(rows)


def table(row):
    """Model -> its rows."""
    return {
        "text_diffusion": [
            # and what is read where there is no text
            row(text_diffusion.Model(FOLDED), clips(), WORDS_SIZE + alone() + 16),
            row(text_diffusion.Model(EMPTY), clips(), WORDS_SIZE + alone()),
        ],
    }
