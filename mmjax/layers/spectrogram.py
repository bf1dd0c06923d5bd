"""The spectrograms of Whisper, AST and CLAP in a graph: samples that are made or augmented on a
device.

The definitions, and the numbers to 1e-5, are those of transforms/mel.py, mel_ast.py and
mel_clap.py, which compute in float64.

* A Fourier transform in float32 is off by 2.3e-5 where quiet frequencies stand beside loud ones (17
  clips of LibriVox and Asterisk). Here samples and waves are cut into slices of 7 bits, whose
  products matrix units sum without any rounding, those of bfloat16 too, and only the sums are
  rounded: below 1e-6.
* What is done to a frame before the transform (its mean taken away, emphasis, a window) is linear,
  and lies in the waves.
* It costs 5 million operations a frame of Whisper's. At 3 million, with four slices, 30 seconds
  took 0.11 s on a CPU core, where the transform in float32 takes 0.006.

Letters: B batch, S samples, T frames, M mel bins, F frequencies, W samples of a frame.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.layers.mel_scale import Bank, filters
from mmjax.layers.spectrum import Spectrum
from mmjax.typing import Array, Bool, Float, Shaped

BITS = 7  # of a slice: 1,024 products of two are exact in float32
SLICES = 5  # with 4, quiet bins of AST's frames are off by 1.5e-5
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
    power = mel_power(samples, Spectrum(bank, bank.fft, hop))
    log = jnp.log10(jnp.maximum(power[:, : samples.shape[1] // hop], LOWEST_POWER))
    log = jnp.maximum(log, log.max((1, 2), keepdims=True) - RANGE)
    starts = jnp.arange(log.shape[1])[None] * hop
    return Features((log + 4.0) / 4.0, starts < _lengths(samples, mask)[:, None])


def kaldi_log_mel(
    samples: Float[Array, "B S"],
    spectrum: Spectrum,
    mask: Shaped[Array, "B S"] | None = None,
    frames: int = 1_024,
    mean: float = -4.2677393,
    std: float = 4.5689974,
) -> Features:
    """AST's: natural logarithms, cut or filled up to `frames`, then normalised by AudioSet's.

    Args:
      spectrum: `AstMel.spectrum`.
      mask: True = sound, in front; None: all of it is.
    """
    power = mel_power(samples, spectrum)[:, :frames]
    power = jnp.pad(power, ((0, 0), (0, frames - power.shape[1]), (0, 0)))
    count = (_lengths(samples, mask) - spectrum.window) // spectrum.hop + 1
    valid = jnp.arange(frames)[None] < count[:, None]
    log = jnp.log(jnp.maximum(power, jnp.finfo(jnp.float32).eps))
    log = jnp.where(valid[..., None], log, 0.0)
    return Features((log - mean) / (2 * std), valid)


def decibels(samples: Float[Array, "B S"], spectrum: Spectrum) -> Float[Array, "B T M"]:
    """CLAP's: decibels of power, of clips that fill the window already.

    Args:
      spectrum: `ClapMel.spectrum`.
    """
    return 10.0 * jnp.log10(jnp.maximum(mel_power(samples, spectrum), LOWEST_POWER))


def mel_power(samples: Float[Array, "B S"], spectrum: Spectrum) -> Float[Array, "B T M"]:
    """Power in each bin, before any logarithm."""
    samples = samples.astype(jnp.float32)
    count = spectrum.frames(samples.shape[1])
    if spectrum.centred:
        half = spectrum.window // 2
        samples = jnp.pad(samples, ((0, 0), (half, half)), "reflect")
    places = jnp.arange(count)[:, None] * spectrum.hop + jnp.arange(spectrum.window)[None]
    cosine, sine = jnp.split(_transformed(samples[:, places], spectrum), 2, axis=-1)
    weights = jnp.asarray(filters(spectrum.bank).T, jnp.float32)
    return jnp.matmul(cosine**2 + sine**2, weights, precision=jax.lax.Precision.HIGHEST)


def _lengths(samples: Array, mask: Array | None) -> Array:
    """Samples of sound of each clip, [B]."""
    if mask is None:
        return jnp.full(len(samples), samples.shape[1])
    return mask.astype(bool).sum(1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _transformed(frames: Float[Array, "B T W"], spectrum: Spectrum) -> Float[Array, "B T G"]:
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
    waves = _waves(spectrum)
    total = jnp.zeros((*frames.shape[:-1], waves[0].shape[1]), jnp.float32)
    for order in reversed(range(SLICES)):
        for number in range(order + 1):
            total = total + jnp.matmul(slices[number], waves[order - number])
    return total * scale


def _forward(frames: Array, spectrum: Spectrum) -> tuple[Array, None]:
    return _transformed(frames, spectrum), None


def _backward(spectrum: Spectrum, _: None, g: Array) -> tuple[Array]:
    # slices round; the map itself is linear
    return (jnp.matmul(g, sum(_waves(spectrum)).T),)


_transformed.defvjp(_forward, _backward)


@functools.cache
def _waves(spectrum: Spectrum) -> tuple[np.ndarray, ...]:
    """Slices of the map from a frame to its cosines and sines, [W, 2 F] each."""
    fft = spectrum.bank.fft
    turns = np.outer(np.arange(spectrum.window), np.arange(fft // 2 + 1)) % fft * (2 * np.pi / fft)
    waves = np.concatenate([np.cos(turns), np.sin(turns)], axis=1) * spectrum.hann()[:, None]
    if spectrum.emphasis:
        # each sample's wave, less a share of the next sample's; the first is its own predecessor
        share = spectrum.emphasis
        following = np.concatenate([waves[1:], np.zeros_like(waves[:1])])
        first = waves[0]
        waves = waves - share * following
        waves[0] -= share * first
    if spectrum.level:
        waves = waves - waves.mean(0)
    out = []
    rest = waves
    for number in range(1, SLICES + 1):
        grid = 2.0 ** (BITS * number)
        out.append((np.round(rest * grid) / grid).astype(np.float32))
        rest = rest - out[-1]
    return tuple(out)
