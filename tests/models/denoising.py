"""U-Nets and their autoencoder of the table in test_models.py, with their parameters counted by
hand."""

import jax
import jax.numpy as jnp

from mmjax.models import autoencoder_kl, unet3d

TEXT = 6  # width of the states of a text
REFERENCE = unet3d.Config(
    2, TEXT, (4, 8), 1, (False, True), head_size=4, entry=True, groups=2, frames=0
)
KNOWING = unet3d.Config(
    2, TEXT, (8,), 1, (True,), head_size=4, groups=2, time="causal", film=True, given=True, frames=3
)
PICTURES = unet3d.Config(2, TEXT, (8,), 1, (False,), head_size=4, groups=2, time="none")
LATENTS = autoencoder_kl.Config(2, 3, (4, 8), 1, 2)


def convolution(inputs, outputs, edge=3):
    return edge * edge * inputs * outputs + outputs


def residual(inputs, outputs, told=0):
    """Of a condition that becomes so many numbers of each channel, from 4 times the first width."""
    norms = 2 * inputs + 2 * outputs
    shortcut = convolution(inputs, outputs, 1) if inputs != outputs else 0
    return norms + convolution(inputs, outputs) + convolution(outputs, outputs) + shortcut + told


def over_time(width):
    return 4 * (2 * width + 3 * width * width + width)


def attention(width, context):
    return 2 * width * width + 2 * context * width + width


def transformer(width, context=None, inside=None):
    """Norm, maps in and out; three norms, two attentions, MLP."""
    d = inside or width
    block = 6 * d + attention(d, d) + attention(d, context or d) + 8 * d * (d + 1) + 4 * d * d + d
    return 2 * width + 2 * width * d + d + width + block


def layer(inputs, outputs, condition, attends):
    told = condition * outputs + outputs
    both = transformer(outputs, TEXT) + transformer(outputs) if attends else 0
    return residual(inputs, outputs, told) + over_time(outputs) + both


REFERENCE_SIZE = (
    convolution(2, 4) + transformer(4, inside=32) + 4 * 16 + 16 + 16 * 16 + 16  # first, time
    + layer(4, 4, 16, False) + convolution(4, 4) + layer(4, 8, 16, True)  # down
    + layer(8, 8, 16, True) + layer(8, 8, 16, False)
    + layer(16, 8, 16, True) + layer(12, 8, 16, True) + convolution(8, 8)  # up
    + layer(12, 4, 16, False) + layer(8, 4, 16, False)
    + 2 * 4 + convolution(4, 2)
)  # fmt: skip
FILM = 32 * 8 + 8  # a second number of each channel
KNOWING_SIZE = (
    convolution(5, 8) + 8 * 32 + 32 + TEXT * 32 + 32 + 2 * (32 * 32 + 32)  # time, text
    + 2 * layer(8, 8, 32, True) + layer(8, 8, 32, False) + 2 * layer(16, 8, 32, True) + 5 * FILM
    + 2 * 8 + convolution(8, 2)
)  # fmt: skip
TOLD = 32 * 8 + 8
PICTURES_SIZE = (
    convolution(2, 8) + 8 * 32 + 32 + 32 * 32 + 32
    + 3 * residual(8, 8, TOLD) + 2 * residual(16, 8, TOLD) + transformer(8, TEXT)
    + 2 * 8 + convolution(8, 2)
)  # fmt: skip
MIDDLE = 2 * residual(8, 8) + 2 * 8 + 4 * (8 * 8 + 8)
LATENTS_SIZE = (
    convolution(2, 4) + residual(4, 4) + convolution(4, 4) + residual(4, 8) + MIDDLE
    + 2 * 8 + convolution(8, 6) + convolution(6, 6, 1)
    + convolution(3, 3, 1) + convolution(3, 8) + MIDDLE + 2 * residual(8, 8) + convolution(8, 8)
    + residual(8, 4) + residual(4, 4) + 2 * 4 + convolution(4, 2)
)  # fmt: skip


def clips(frames, rows=8):
    return jax.random.normal(jax.random.key(6), (rows, frames, 4, 4, 2))


def said(rows=8):
    """Times, states of texts, and which are real."""
    states = jax.random.normal(jax.random.key(7), (rows, 5, TEXT))
    mask = jnp.arange(5)[None] < 1 + jnp.arange(rows)[:, None] % 5
    return jnp.linspace(0, 999, rows), states, mask


def first(rows=8):
    """Which frames are known: the first of every second row."""
    return (jnp.arange(3)[None] < 1) & (jnp.arange(rows)[:, None] % 2 > 0)


def table(row):
    """Model -> its rows."""
    return {
        "unet3d": [
            row(unet3d.Model(REFERENCE), (clips(3), *said()), REFERENCE_SIZE),
            row(
                unet3d.Model(KNOWING), (clips(3), *said(), clips(3) + 1, first()), KNOWING_SIZE
            ),
            row(unet3d.Model(PICTURES), (clips(1), *said()), PICTURES_SIZE),
        ],
        "autoencoder_kl": [
            row(autoencoder_kl.Model(LATENTS), (clips(1)[:, 0],), LATENTS_SIZE),
        ],
    }
