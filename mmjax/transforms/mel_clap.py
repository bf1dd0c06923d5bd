"""Spectrograms of CLAP (Wu et al. 2022, https://arxiv.org/abs/2211.06687), in numpy.

* 48 kHz, frames of 1,024 samples every 480, power in decibels down to -100; windows of 10 seconds.
* A shorter clip is repeated as often as it fits whole, and then filled up with silence.
* Of a longer clip "rand_trunc" takes 10 seconds at random; "fusion" takes four pictures: the whole,
  shrunk in time, and a crop from its beginning, middle and end, at random. Of a shorter clip these
  four are the same, and `<field>_mask` says so: the model then leaves the crops out.
* "rand_trunc" has Slaney's filters to 14 kHz, "fusion" HTK's: the checkpoints were trained so.

Letters: N pictures (1 or 4), T frames, M mel bins.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import numpy as np

from mmjax.data.source import CorruptExample, Example
from mmjax.layers.mel_scale import Bank
from mmjax.layers.spectrum import Spectrum
from mmjax.typing import Float

LOWEST_POWER = 1e-10  # -100 dB
WINDOW = 1_024  # samples of a frame
HOP = 480  # samples from frame to frame
CROPS = 3  # of fusion: beginning, middle, end


class Seen(NamedTuple):
    """What the model reads of one clip."""

    features: Float[np.ndarray, "N T M"]
    longer: bool  # than the window


@dataclasses.dataclass(frozen=True)
class ClapMel:
    """float32 [samples] -> float32 [N, T, M]; with fusion `<field>_mask` [N] says which of the four
    pictures the model is to look at.

    Without a generator of random numbers crops lie in the middle of where they may be.
    """

    truncation: Literal["rand_trunc", "fusion"] = "fusion"  # of what is longer
    filling: Literal["repeatpad", "repeat", "pad"] = "repeatpad"  # of what is shorter
    bins: int = 64  # M
    rate: int = 48_000  # samples per second
    seconds: int = 10  # of the window
    low: float = 50.0  # Hz, of the filters; the extractor's default is 0, the checkpoints' 50
    high: float = 14_000.0  # Hz
    field: str = "audio"  # that it works on

    @property
    def spectrum(self) -> Spectrum:
        """Its frames and filters."""
        scale = "htk" if self.truncation == "fusion" else "slaney"
        return Spectrum(Bank(self.bins, WINDOW, self.rate, self.low, self.high, scale), WINDOW, HOP)

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        seen = self.of(example[self.field], rng)
        out = {**example, self.field: seen.features}
        if self.truncation == "fusion":
            out[f"{self.field}_mask"] = np.array([True] + [seen.longer] * CROPS)
        return out

    def of(self, samples: np.ndarray, rng: np.random.Generator | None = None) -> Seen:
        """Of one clip, [samples] of one channel. Raises CorruptExample for an empty one."""
        if not len(samples):
            raise CorruptExample("no sound: 0 samples")
        samples = np.asarray(samples)
        size = self.seconds * self.rate
        if len(samples) <= size:
            mel = self._decibels(self._filled(samples, size))
            return Seen(self._alike(mel), False)
        if self.truncation == "rand_trunc":
            start = _drawn(len(samples) - size + 1, rng)
            return Seen(self._decibels(samples[start : start + size])[None], True)
        mel = self._decibels(samples)
        frames = size // HOP + 1
        if len(mel) == frames:  # longer by less than one frame
            return Seen(self._alike(mel), False)
        pictures = [shrunk(mel, frames)]
        for part in np.array_split(np.arange(len(mel) - frames + 1), CROPS):
            start = int(part[_drawn(len(part), rng)]) if len(part) else 0
            pictures.append(mel[start : start + frames])
        return Seen(np.stack(pictures), True)

    def _alike(self, mel: np.ndarray) -> np.ndarray:
        """The pictures of a clip that needs no crop."""
        return np.stack([mel] * (1 + CROPS)) if self.truncation == "fusion" else mel[None]

    def _filled(self, samples: np.ndarray, size: int) -> np.ndarray:
        """A clip made as long as the window."""
        if len(samples) == size:
            return samples
        times = size // len(samples)
        if self.filling == "repeat":
            return np.tile(samples, times + 1)[:size]
        if self.filling == "repeatpad":
            samples = np.tile(samples, times)
        return np.pad(samples, (0, size - len(samples)))

    def _decibels(self, samples: np.ndarray) -> Float[np.ndarray, "T M"]:
        mel = np.maximum(self.spectrum(samples), LOWEST_POWER)
        return (10.0 * np.log10(mel)).astype(np.float32)


def _drawn(count: int, rng: np.random.Generator | None) -> int:
    return count // 2 if rng is None else int(rng.integers(count))


def shrunk(mel: Float[np.ndarray, "S M"], frames: int) -> Float[np.ndarray, "T M"]:
    """Fewer frames by linear interpolation between the two that lie nearest, without any average
    over those between: what torch's bilinear interpolation does, half a frame at the edges."""
    step = np.float32(len(mel) / frames)  # in float32 as there: places lie far from zero
    places = step * (np.arange(frames, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    places = places.clip(0, len(mel) - 1)
    first = np.floor(places).astype(int)
    second = np.minimum(first + 1, len(mel) - 1)
    share = (places - first.astype(np.float32))[:, None]
    return mel[first] * (1 - share) + mel[second] * share
