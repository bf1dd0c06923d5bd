"""Sound as a musician writes it: a spectrogram whose bins are semitones, and where notes begin.

Constant-Q transform: Brown 1991, https://doi.org/10.1121/1.400476. In numpy, by its definition.

* Bin k has the frequency low * 2^(k / bins_per_octave), and a Hann window of as many periods for
  each, Q = 1 / (2^(1 / bins_per_octave) - 1): low notes are heard for longer. A melody an octave
  higher is the same picture higher up, and a bin is a bin for every instrument.
* Onsets are what grows: the mean over a band's frequencies of the positive difference between
  neighbouring frames of a spectrum of short windows, log(1 + 100 m) of magnitudes relative to the
  loudest, so that accents stay visible. They are read `onsets` times as often as pitches.
* All of it is products with matrices of cosines and sines, of no more frequencies than are read: on
  a CPU four times as fast as Fourier transforms of every frame.

Letters: S samples, T frames, K bins, N samples of a window, O onset frames in a frame, G bands.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import numpy as np

from mmjax.data.source import CorruptExample, Example
from mmjax.typing import Float, Positive

RANGE = 3.0  # decades below the loudest value that are kept
SHARPNESS = 100.0  # of the logarithm of onsets
WINDOW = 512  # samples of the short spectrum, 32 ms
BANDS = 4  # G, each of PER_BAND frequencies
PER_BAND = 12
LOWEST = 150.0  # hertz, of those of onsets
HIGHEST = 6_000.0


@dataclasses.dataclass(frozen=True)
class LogFrequency:
    """`audio`: float32 [S] samples -> float32 [T, K + O * G]: pitches, then onsets, 0 to 1 and
    around 0 to 4."""

    rate: Positive = 16_000  # samples per second
    low: float = 65.40639  # hertz of the first bin: the C two octaves below the middle one
    octaves: Positive = 6  # that are heard
    bins_per_octave: Positive = 12  # 12: a bin is a semitone
    hop: Positive = 800  # samples from frame to frame, 50 ms
    onsets: Positive = 4  # O: onset frames in a frame
    field: ClassVar[str] = "audio"
    deterministic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        highest = self.frequencies[-1]
        if highest >= self.rate / 2:
            raise ValueError(f"the highest bin has {highest:.0f} Hz, half the rate and more")
        if self.hop % self.onsets:
            raise ValueError(f"hop={self.hop} is no multiple of onsets={self.onsets}")

    @property
    def bins(self) -> int:
        """K."""
        return self.octaves * self.bins_per_octave

    @property
    def width(self) -> int:
        """Values of a frame."""
        return self.bins + self.onsets * BANDS

    @property
    def frequencies(self) -> Float[np.ndarray, " K"]:
        """Hertz of the bins."""
        return self.low * 2.0 ** (np.arange(self.bins) / self.bins_per_octave)

    def windows(self) -> np.ndarray:
        """N of each bin, odd: a window has a middle."""
        quality = 1 / (2 ** (1 / self.bins_per_octave) - 1)
        return np.round(quality * self.rate / self.frequencies / 2).astype(int) * 2 + 1

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        """Raises CorruptExample for a clip that has no frame."""
        samples = np.asarray(example["audio"], np.float32)
        if len(samples) < self.hop:
            raise CorruptExample(f"{len(samples)} samples; a frame has {self.hop}")
        loud = np.log10(np.maximum(self.magnitudes(samples), 1e-9))
        pitches = np.maximum(loud - loud.max(), -RANGE) / RANGE + 1
        if loud.max() <= -6:  # silence has no loudest value
            pitches = np.zeros_like(pitches)
        beginnings = self.beginnings(samples)
        frames = np.concatenate([pitches, beginnings.reshape(len(pitches), -1)], axis=1)
        return {**example, "audio": frames.astype(np.float32)}

    def magnitudes(self, samples: Float[np.ndarray, " S"]) -> Float[np.ndarray, "T K"]:
        """|sum of x[n] w[n] exp(-2 pi i f n / rate)| / sum of w * 2: of a sine its amplitude. Frame
        t is centred at sample t * hop; beyond the ends is silence."""
        frequencies = self.frequencies.reshape(self.octaves, -1)
        windows = self.windows().reshape(self.octaves, -1)
        octaves = [
            _magnitudes(samples, self.hop, _kernels(self.rate, tuple(hertz), tuple(sizes)))
            for hertz, sizes in zip(frequencies.tolist(), windows.tolist(), strict=True)
        ]
        return np.concatenate(octaves, axis=1)

    def beginnings(self, samples: Float[np.ndarray, " S"]) -> Float[np.ndarray, "U G"]:
        """Onsets in each band, U = O * T; their standard deviation in a clip is 1."""
        hertz = np.geomspace(LOWEST, HIGHEST, BANDS * PER_BAND)
        kernels = _kernels(self.rate, tuple(hertz.tolist()), (WINDOW + 1,) * len(hertz))
        short = _magnitudes(samples, self.hop // self.onsets, kernels)
        short = short[: len(samples) // self.hop * self.onsets]
        loud = np.log(1 + SHARPNESS / max(float(short.max()), 1e-6) * short)
        grown = np.maximum(np.diff(loud, axis=0, prepend=loud[:1]), 0)
        found = grown.reshape(len(grown), BANDS, PER_BAND).mean(2)
        return found / np.maximum(found.std(0, keepdims=True), 1e-3)


def _magnitudes(
    samples: Float[np.ndarray, " S"], hop: int, kernels: Float[np.ndarray, "N J"]
) -> Float[np.ndarray, "T K"]:
    """Of frames that are centred at every hop."""
    half = len(kernels) // 2
    cut = np.lib.stride_tricks.sliding_window_view(np.pad(samples, half), len(kernels))
    made = np.ascontiguousarray(cut[::hop][: len(samples) // hop]) @ kernels
    real, imaginary = np.split(made, 2, axis=1)
    return np.sqrt(real**2 + imaginary**2)


@functools.lru_cache(maxsize=32)
def _kernels(
    rate: int, frequencies: tuple[float, ...], windows: tuple[int, ...]
) -> Float[np.ndarray, "N J"]:
    """Cosines, then sines, each in its window of odd length, all as long as the longest."""
    longest = max(windows)
    time = np.arange(longest) - longest // 2
    kernels = np.zeros((longest, 2 * len(frequencies)))
    for place, (size, hertz) in enumerate(zip(windows, frequencies, strict=True)):
        own = slice(longest // 2 - size // 2, longest // 2 + size // 2 + 1)
        window = np.hanning(size + 2)[1:-1]
        angle = 2 * np.pi * hertz / rate * time[own]
        kernels[own, place] = window * np.cos(angle) * 2 / window.sum()
        kernels[own, len(frequencies) + place] = window * np.sin(angle) * 2 / window.sum()
    return kernels.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Transpose:
    """Shifts the pitches of `audio` [..., T, K + ...] by whole semitones, and labels that name a
    key with them; what comes in from beyond the ends is silence."""

    bins: int  # K, the first values of a frame
    bins_per_semitone: int = 1
    most: int = 6  # semitones up or down at most, all as likely
    # label field -> its classes of one semitone: 1 of twelve pitches, 4 of pitches in four modes
    labels: tuple[tuple[str, int], ...] = ()
    field: ClassVar[str] = "audio"

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        semitones = int(rng.integers(-self.most, self.most + 1))
        frames = example["audio"].copy()
        bins = semitones * self.bins_per_semitone
        frames[..., : self.bins] = shifted(frames[..., : self.bins], bins)
        out = {**example, "audio": frames}
        for field, classes in self.labels:
            if field in example and example[field] >= 0:  # below 0: it is not known
                out[field] = (example[field] + semitones * classes) % (12 * classes)
        return out


def shifted(frames: Float[np.ndarray, "... T K"], bins: int) -> Float[np.ndarray, "... T K"]:
    """Every frame `bins` higher."""
    out = np.zeros_like(frames)
    if bins >= 0:
        out[..., bins:] = frames[..., : frames.shape[-1] - bins]
    else:
        out[..., :bins] = frames[..., -bins:]
    return out
