"""Augmentation of recordings: speed, gain and noise of the samples, SpecAugment of the frames.

Audio augmentation by speed: https://www.danielpovey.com/files/2015_interspeech_augmentation.pdf;
SpecAugment: Park et al. 2019, https://arxiv.org/abs/1904.08779.

* Frozen transforms, `(example, rng) -> example`, that draw from the rng handed in alone.
* Speed is resampling by soxr: faster is higher as well. Time stamps of the example go along.
* Noise is white, or a stretch of a recording of a folder, at a ratio to the clip's own power.
* SpecAugment's time warp is left out: in the paper it helps least and costs most. A masked frame or
  bin has the clip's mean, which is what the paper's zero is after normalisation.

Letters: S samples, T frames, M mel bins.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path

import numpy as np
import soxr

from mmjax.config import ConfigError
from mmjax.data.batching import Transform
from mmjax.data.source import CorruptExample, Example
from mmjax.transforms.audio import DecodeAudio
from mmjax.typing import Natural

STAMPS = ("start", "end", "times")  # fields of an example that are seconds of its sound
SOUNDS = (".wav", ".flac", ".ogg", ".mp3")  # files of a folder of noise


@dataclasses.dataclass(frozen=True)
class Speed:
    """Plays the recording faster or slower; its pitch follows."""

    bounds: tuple[float, float] = (0.9, 1.1)  # of the factor, uniform; 1: as it is
    rate: int = 16_000  # samples per second
    field: str = "audio"  # that it works on

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        factor = round(float(rng.uniform(*self.bounds)), 3)
        samples = soxr.resample(example[self.field], self.rate * factor, self.rate)
        stamps = {name: _scaled(example[name], factor) for name in STAMPS if name in example}
        return {**example, self.field: samples.astype(np.float32, copy=False), **stamps}


def _scaled(seconds: object, factor: float) -> object:
    return None if seconds is None else np.asarray(seconds) / factor


@dataclasses.dataclass(frozen=True)
class Gain:
    """Makes the recording louder or quieter; what goes beyond -1..1 is kept, not clipped."""

    decibels: tuple[float, float] = (-6.0, 6.0)  # uniform
    field: str = "audio"  # that it works on

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        factor = np.float32(10 ** (rng.uniform(*self.decibels) / 20))
        return {**example, self.field: example[self.field] * factor}


@dataclasses.dataclass(frozen=True)
class Noise:
    """Adds noise, so many decibels below the recording's mean power; silence stays silent."""

    ratio: tuple[float, float] = (10.0, 30.0)  # decibels, uniform
    folder: str = ""  # of recordings, from which a stretch is drawn; "": Gaussian noise
    rate: int = 16_000  # samples per second
    field: str = "audio"  # that it works on

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        samples = example[self.field]
        ratio = 10 ** (rng.uniform(*self.ratio) / 10)
        noise = self._drawn(len(samples), rng)
        power = float(np.mean(np.square(noise, dtype=np.float64)))
        wanted = float(np.mean(np.square(samples, dtype=np.float64))) / ratio
        scale = math.sqrt(wanted / power) if power else 0.0
        return {**example, self.field: samples + np.float32(scale) * noise}

    def _drawn(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """float32 [S]; a recording that is shorter is repeated."""
        if not self.folder:
            return rng.standard_normal(count, dtype=np.float32)
        recordings = noises(self.folder, self.rate)
        noise = recordings[rng.integers(len(recordings))]
        start = int(rng.integers(len(noise)))
        return np.take(noise, np.arange(start, start + count), mode="wrap")


@functools.lru_cache(maxsize=4)
def noises(folder: str, rate: int) -> tuple[np.ndarray, ...]:
    """The recordings of a folder, float32 [S] each, in the order of their names.

    Raises:
      ConfigError: there is none.
    """
    decode = DecodeAudio(rate)
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SOUNDS)
    found = []
    for path in paths:
        try:
            found.append(decode({"audio": path.read_bytes()})["audio"])
        except CorruptExample:
            continue
    if not found:
        raise ConfigError(f"noise_folder: {folder} holds no recording ({', '.join(SOUNDS)})")
    return tuple(found)


@dataclasses.dataclass(frozen=True)
class MaskFrames:
    """SpecAugment: stripes of the spectrogram, along time and along frequency, are taken out."""

    frequency_masks: int = 2  # how many
    bins: int = 27  # a mask is up to so many bins high: F of the paper
    time_masks: int = 2  # how many
    frames: int = 100  # a mask is up to so many frames long: T of the paper
    share: float = 0.2  # and no more of the clip than this: p of the paper
    field: str = "audio"  # that it works on, [T, M]

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        frames = np.array(example[self.field])
        mean = frames.mean()
        length, bins = frames.shape
        for _ in range(self.frequency_masks):
            start, stop = _stripe(bins, min(self.bins, bins), rng)
            frames[:, start:stop] = mean
        for _ in range(self.time_masks):
            start, stop = _stripe(length, min(self.frames, int(self.share * length)), rng)
            frames[start:stop] = mean
        return {**example, self.field: frames}


def _stripe(length: int, most: int, rng: np.random.Generator) -> tuple[int, int]:
    """(first, behind the last): a width of 0 to `most`, anywhere."""
    width = int(rng.integers(most + 1))
    start = int(rng.integers(length - width + 1))
    return start, start + width


@dataclasses.dataclass(frozen=True)
class Config:
    speed: tuple[float, float] = (1.0, 1.0)  # factor, uniform; (1, 1): left as it is
    gain: tuple[float, float] = (0.0, 0.0)  # decibels, uniform; (0, 0): left as it is
    # decibels that noise lies below the recording, uniform; (): none
    noise: tuple[float, ...] = ()
    noise_folder: str = ""  # recordings of noise; "": Gaussian
    frequency_masks: Natural = 0  # SpecAugment's of the frames, in mel bins
    frequency_width: Natural = 27  # bins of one at most
    time_masks: Natural = 0  # SpecAugment's of the frames, in time
    time_width: Natural = 100  # frames of one at most
    time_share: float = 0.2  # of the clip that one takes, at most


def transforms(config: Config, rate: int) -> tuple[tuple[Transform, ...], tuple[Transform, ...]]:
    """(of samples, of frames): those that change anything."""
    c = config
    of_samples: list[Transform] = []
    if c.speed != (1.0, 1.0):
        of_samples.append(Speed(c.speed, rate))
    if c.noise:
        of_samples.append(Noise(c.noise, c.noise_folder, rate))
    if c.gain != (0.0, 0.0):
        of_samples.append(Gain(c.gain))
    of_frames: tuple[Transform, ...] = ()
    if c.frequency_masks or c.time_masks:
        widths = (c.time_masks, c.time_width, c.time_share)
        of_frames = (MaskFrames(c.frequency_masks, c.frequency_width, *widths),)
    return tuple(of_samples), of_frames


def longest(config: Config) -> float:
    """By how much a recording may become longer."""
    return max(1.0, 1 / config.speed[0])
