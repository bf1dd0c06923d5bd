"""Models that make something of the table in test_models.py; of the U-Net, which has a row of its
own, what it counts by itself."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from models.sounding import TINY, block, ids, mask

from mmjax import tree
from mmjax.models import autoencoder_kl, text, text_diffusion, unet3d

WORDS = text.Config(vocab_size=32, context_length=6, transformer=TINY, causal=False)
WORDS_SIZE = 32 * 16 + 6 * 16 + 2 * block(16, 32) + 2 * 16
DENOISER = unet3d.Config(
    8, 16, (8,), 1, (True,), head_size=4, groups=4, time="joint", film=True, frames=2
)
FOLDED = text_diffusion.Config(WORDS, DENOISER, fold=2)
EMPTY = dataclasses.replace(FOLDED, nothing="empty", empty=(1, 2))
CODER = autoencoder_kl.Config(2, 2, (4, 4), 1, groups=2, attention=False)
LATENT = dataclasses.replace(EMPTY, autoencoder=CODER, fold=1, denoiser=dataclasses.replace(
    DENOISER, channels=2
))  # fmt: skip


def alone(module, config):
    """Parameters of a part that has a row of its own."""
    made = jax.eval_shape(module.Model(config).init, jax.random.key(0), *module.inputs(config))
    return tree.count(nn.unbox(made)["params"])


def clips(rows=8):
    samples = jax.random.normal(jax.random.key(6), (rows, 2, 4, 4, 2))
    return samples, jnp.linspace(0, 999, rows), ids(rows), mask(rows)


def table(row):
    """Model -> its rows."""
    return {
        "text_diffusion": [
            # and what is read where there is no text
            row(
                text_diffusion.Model(FOLDED), clips(), WORDS_SIZE + alone(unet3d, DENOISER) + 16
            ),
            row(
                text_diffusion.Model(LATENT),
                clips(),
                WORDS_SIZE + alone(unet3d, LATENT.denoiser) + alone(autoencoder_kl, CODER),
            ),
        ],
    }
