"""Whisper's log-mel spectrogram in a graph: samples that are made or augmented on a device.

The definition, and the numbers to 1e-5, are those of transforms/mel.py, which computes in float64.

* A Fourier transform in float32 is off by 2.3e-5 where quiet frequencies stand beside loud ones (17
  clips of LibriVox and Asterisk). Here samples and waves are cut into slices of 7 bits, whose
  products matrix units sum without any rounding, those of bfloat16 too, and only the sums are
  rounded: 2e-6.
* It costs 3 million operations a frame: 0.11 s for 30 seconds on a CPU core, where the transform in
  float32 takes 0.006.

Letters: B batch, S samples, T frames, M mel bins, F frequencies, W samples of a frame.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.layers.mel_scale import Bank, filters
from mmjax.typing import Array, Bool, Float, Shaped

BITS = 7  # of a slice: 400 products of two are exact in float32
SLICES = 4  # 28 bits, more than a float32 has
LOWEST_POWER = 1e-10  # silence
WHISPER = Bank()  # 80 bins to 8 kHz at 16 kHz
RANGE = 8.0  # decades below the loudest value of a clip that are kept


class Features(NamedTuple):
    """Spectrograms, and which of their frames are sound."""

    features: Float[Array, "B T M"]
    mask: Bool[Array, "B T"]


def log_mel(
    samples: Float[Array, "B S"],
    mask: Shaped[Array, "B S"] | None = None,
    bank: Bank = WHISPER,
    hop: int = 160,
) -> Features:
    """Frames as long as the Fourier transform, every `hop` samples, in about -1..1.

    Args:
      mask: True = sound, in front; None: all of it is. What is behind has to be zeros.
    """
    window = bank.fft
    count = samples.shape[1] // hop
    padded = jnp.pad(samples.astype(jnp.float32), ((0, 0), (window // 2, window // 2)), "reflect")
    places = jnp.arange(count)[:, None] * hop + jnp.arange(window)[None]
    power = _power(padded[:, places], window)  # [B, T, F]
    weights = jnp.asarray(filters(bank).T, jnp.float32)
    mel = jnp.matmul(power, weights, precision=jax.lax.Precision.HIGHEST)
    log = jnp.log10(jnp.maximum(mel, LOWEST_POWER))
    log = jnp.maximum(log, log.max((1, 2), keepdims=True) - RANGE)
    starts = jnp.arange(count)[None] * hop
    length = jnp.full((len(samples), 1), samples.shape[1])
    if mask is not None:
        length = mask.astype(bool).sum(1, keepdims=True)
    return Features((log + 4.0) / 4.0, starts < length)


def _power(frames: Float[Array, "B T W"], window: int) -> Float[Array, "B T F"]:
    """Squares of the Fourier transform of the frames under a Hann window."""
    cosine, sine = jnp.split(_transformed(frames, window), 2, axis=-1)
    return cosine**2 + sine**2


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _transformed(frames: Float[Array, "B T W"], window: int) -> Float[Array, "B T G"]:
    """Cosine and sine parts; exact products of slices, the small ones summed first."""
    loudest = jnp.abs(frames).max(-1, keepdims=True)
    # powers of two, so that scaling rounds nothing
    scale = jnp.exp2(jnp.ceil(jnp.log2(jnp.maximum(loudest, 1e-30))))
    slices = []
    rest = frames / scale
    for number in range(1, SLICES + 1):
        grid = 2.0 ** (BITS * number)
        slices.append(jnp.round(rest * grid) / grid)
        rest = rest - slices[-1]
    waves = _waves(window)
    total = jnp.zeros((*frames.shape[:-1], waves[0].shape[1]), jnp.float32)
    for order in reversed(range(SLICES)):
        for number in range(order + 1):
            total = total + jnp.matmul(slices[number], waves[order - number])
    return total * scale


def _forward(frames: Array, window: int) -> tuple[Array, None]:
    return _transformed(frames, window), None


def _backward(window: int, _: None, g: Array) -> tuple[Array]:
    return (jnp.matmul(g, sum(_waves(window)).T),)  # slices round; the map itself is linear


_transformed.defvjp(_forward, _backward)


@functools.cache
def _waves(window: int) -> tuple[np.ndarray, ...]:
    """Slices of the Hann window times cosines and sines, [W, 2 F] each."""
    samples = np.arange(window)
    turns = np.outer(samples, np.arange(window // 2 + 1)) % window * (2 * np.pi / window)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * samples / window)
    rest = np.concatenate([np.cos(turns), np.sin(turns)], axis=1) * hann[:, None]
    out = []
    for number in range(1, SLICES + 1):
        grid = 2.0 ** (BITS * number)
        out.append((np.round(rest * grid) / grid).astype(np.float32))
        rest = rest - out[-1]
    return tuple(out)
