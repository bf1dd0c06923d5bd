"""Triangular filters over frequency, evenly spaced in mel: the three scales of trained models.

* "slaney" (https://engineering.purdue.edu/~malcolm/interval/1998-010/): straight below 1,000 Hz and
  logarithmic above it; triangles in Hz, each of area 1. Whisper's, and CLAP's of single crops.
* "htk" (the Cambridge HTK book): logarithmic; triangles in Hz, each of height 1. CLAP's of fusion.
* "kaldi": the same scale, triangles in mel, each of height 1. The Audio Spectrogram Transformer's.

Here and not among the transforms, because the layer in the graph (spectrogram.py) has the same.
numpy alone.

Letters: M bins, F frequencies.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import numpy as np

from mmjax.typing import Float


@dataclasses.dataclass(frozen=True)
class Bank:
    """Which filters."""

    bins: int = 80  # M
    fft: int = 400  # samples of the Fourier transform: F = fft / 2 + 1
    rate: int = 16_000  # samples per second
    low: float = 0.0  # Hz at which the first triangle begins
    high: float = 8_000.0  # Hz at which the last one ends
    scale: Literal["slaney", "htk", "kaldi"] = "slaney"


def mel_of(hertz: np.ndarray | float, scale: str = "slaney") -> np.ndarray:
    """The place on a scale: Slaney's has 15 mel per 1,000 Hz below that frequency, 27 per factor of
    6.4 above it."""
    hertz = np.asarray(hertz, np.float64)
    if scale != "slaney":
        return 1127.0 * np.log(1.0 + hertz / 700.0)  # HTK's 2595 log10(..) is a constant times it
    high = 15 + np.log(np.maximum(hertz, 1000.0) / 1000.0) * 27 / np.log(6.4)
    return np.where(hertz < 1000.0, hertz * 3 / 200, high)


def hertz_of(mel: np.ndarray | float, scale: str = "slaney") -> np.ndarray:
    """The frequency of a place: the inverse of `mel_of`."""
    mel = np.asarray(mel, np.float64)
    if scale != "slaney":
        return 700.0 * (np.exp(mel / 1127.0) - 1.0)
    high = 1000.0 * np.exp((np.maximum(mel, 15.0) - 15.0) * np.log(6.4) / 27)
    return np.where(mel < 15.0, mel * 200 / 3, high)


@functools.cache
def filters(bank: Bank) -> Float[np.ndarray, "M F"]:
    """The weights of the frequencies of a Fourier transform in each bin."""
    low, high = (mel_of(edge, bank.scale) for edge in (bank.low, bank.high))
    edges = np.linspace(low, high, bank.bins + 2)[:, None]  # [M + 2, 1], in mel
    count = bank.fft // 2 + 1
    if bank.scale == "kaldi":
        places = mel_of(np.arange(count) * bank.rate / bank.fft, bank.scale)[None]
    else:
        edges = hertz_of(edges, bank.scale)
        places = np.linspace(0, bank.rate // 2, count)[None]
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    if bank.scale == "slaney":
        triangles *= 2 / (edges[2:] - edges[:-2])
    triangles.flags.writeable = False  # every caller has the same array
    return triangles
