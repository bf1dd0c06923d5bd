"""An encoder of music with a head for each question: rhythm, key, metre, instrument.

Frames of transforms/log_frequency.py, and three views of them:

* Pitches: a kernel that slides along the frequencies (so a harmonic series is one, wherever it
  lies), octaves folded, convolutions over time. What comes out is a vector for each of the twelve
  pitch classes, and a tune a semitone higher is the same twelve a place further: a head that is
  `tonal` reads the vector of a pitch class, and what lies at which interval from it, for its
  classes with that tonic.
* Time: autocorrelation of onsets in each band and of the pitches themselves, up to some seconds: a
  tempogram of the whole clip (https://doi.org/10.1109/TASL.2010.2096216), computed in the graph.
* Frames: convolutions over time, and the mean and deviation of the spectrum, for what is neither.

Letters: B batch, T frames, K bins, C channels, O onset frames in a frame, G bands, L lags,
    D width, V classes of a head.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from mmjax.config import ConfigError
from mmjax.layers.convolution import Convolution
from mmjax.layers.dense import Dense
from mmjax.models.whisper_encoder import Count
from mmjax.typing import Array, Float, Natural, Positive

PITCHES = 12  # pitch classes


@dataclasses.dataclass(frozen=True)
class Head:
    """One question."""

    name: str  # of the label
    classes: Positive  # V; of a tonal head a multiple of 12, those of a pitch class side by side
    tonal: bool = False  # its classes move with the pitch


@dataclasses.dataclass(frozen=True)
class Config:
    bins: Positive = 72  # K, pitches of a frame; whole octaves
    bins_per_octave: Positive = 12  # a multiple of 12
    onsets: Positive = 4  # O
    bands: Positive = 4  # G
    heads: tuple[Head, ...] = ()  # the questions
    channels: Positive = 16  # C, of what slides along the frequencies
    taps: Positive = 37  # bins that it sees, an odd number
    width: Positive = 128  # D, of each summary
    lags: Positive = 320  # L: onset frames that autocorrelation reaches back
    strides: Natural = 2  # convolutions over time, each of which halves the frames
    dropout: float = 0.2  # of what heads read, 0 to 1

    def __post_init__(self) -> None:
        if self.bins % self.bins_per_octave or self.bins_per_octave % PITCHES:
            raise ConfigError(
                f"bins={self.bins} are no whole octaves of bins_per_octave="
                f"{self.bins_per_octave}, which is to be a multiple of {PITCHES}"
            )
        if self.taps % 2 == 0:
            raise ConfigError(f"taps={self.taps}: an odd number has a middle; it is even")
        for head in self.heads:
            if head.tonal and head.classes % PITCHES:
                raise ConfigError(
                    f"heads: {head.name!r} is tonal, and its {head.classes} classes are no "
                    f"multiple of {PITCHES} pitch classes"
                )

    takes_mask: ClassVar[bool] = False  # clips are of one length

    @property
    def frame(self) -> int:
        """Values of a frame."""
        return self.bins + self.onsets * self.bands

    def vectors(self, frames: Count) -> Count:
        """P, of a clip that is there."""
        return (PITCHES + 2) * (frames > 0)


class Output(NamedTuple):
    """What the model returns."""

    tokens: Float[Array, "B P D"]  # of the pitch classes from C on, then of time, then of frames
    pooled: Float[Array, "B E"]  # what the heads read that are not tonal
    logits: Mapping[str, Float[Array, "B V"]]  # of each head, float32


def autocorrelation(x: Float[Array, "B T C"], lags: int) -> Float[Array, "B L C"]:
    """How alike each channel is to itself 1, 2, ... frames later, without its mean: -1 to 1. What
    lies further apart is seen less often, and counts for as much."""
    rows, frames, channels = x.shape
    lags = min(lags, frames - 1)
    x = (x - x.mean(1, keepdims=True)).swapaxes(1, 2).reshape(rows * channels, frames)
    to_spectrum, from_power = _transforms(frames, lags)
    real, imaginary = jnp.split(x @ to_spectrum, 2, axis=1)
    found = (real**2 + imaginary**2) @ from_power  # of each lag, the mean over its pairs
    found = found[:, 1:] / jnp.maximum(found[:, :1], 1e-6)
    return found.reshape(rows, channels, lags).swapaxes(1, 2)


@functools.lru_cache(maxsize=8)
def _transforms(frames: int, lags: int) -> tuple[np.ndarray, np.ndarray]:
    """Fourier's transform of twice as many frames, cosines beside sines, and back from the power to
    the lags. As matrices: products are fast everywhere, and XLA's own transform stood still on a
    CPU with one thread."""
    angle = np.pi / frames
    frequencies = np.arange(frames + 1)
    forward = angle * np.arange(frames)[:, None] * frequencies[None]
    to_spectrum = np.concatenate([np.cos(forward), np.sin(forward)], axis=1)
    back = np.cos(angle * frequencies[:, None] * np.arange(lags + 1)[None]) / frames
    back[[0, -1]] /= 2  # the first and the last frequency stand once, the others twice
    from_power = back / (frames - np.arange(lags + 1))[None]
    return to_spectrum.astype(np.float32), from_power.astype(np.float32)


class Pitches(nn.Module):
    """Frames of pitches -> a vector of each pitch class."""

    config: Config

    @nn.compact
    def __call__(self, x: Float[Array, "B T K"]) -> Float[Array, "B 12 D"]:
        c = self.config
        if x.shape[1] % 2:
            x = jnp.pad(x, ((0, 0), (0, 1), (0, 0)))
        x = (x[:, ::2] + x[:, 1::2]) / 2  # a key is not told by what lasts a frame
        rows, frames, bins = x.shape
        side = (c.taps // 2, c.taps // 2)
        x = x.reshape(rows * frames, bins, 1)
        x = nn.gelu(Convolution(c.channels, c.taps, padding=side, name="harmonics")(x))
        within = c.bins_per_octave // PITCHES
        x = x.reshape(rows, frames, bins // c.bins_per_octave, PITCHES, within * c.channels)
        x = jnp.concatenate([x.max(2), x.mean(2)], axis=-1)
        x = x.swapaxes(1, 2).reshape(rows * PITCHES, frames, -1)
        for number in range(2):
            name = f"time_{number}"
            x = nn.gelu(Convolution(2 * c.channels, 5, 2, (2, 2), name=name)(x))
        x = jnp.concatenate([x.mean(1), x.max(1)], axis=-1).reshape(rows, PITCHES, -1)
        x = _norm("norm")(x)
        # each pitch class with all twelve in the order of their interval from it
        around = [jnp.roll(x, -interval, axis=1) for interval in range(PITCHES)]
        return nn.gelu(_dense(c.width, "intervals")(jnp.concatenate(around, axis=-1)))


class Time(nn.Module):
    """Onsets and pitches -> a vector of what returns after how long."""

    config: Config

    @nn.compact
    def __call__(
        self, pitches: Float[Array, "B T K"], onsets: Float[Array, "B U G"], train: bool
    ) -> Float[Array, "B D"]:
        c = self.config
        rows = len(pitches)
        together = onsets.sum(-1, keepdims=True)
        beats = autocorrelation(jnp.concatenate([onsets, together], axis=-1), c.lags)
        melody = autocorrelation(pitches, 2 * c.lags // c.onsets).mean(-1)
        x = jnp.concatenate([beats.reshape(rows, -1), melody], axis=-1)
        x = nn.Dropout(c.dropout, deterministic=not train)(x)
        x = nn.gelu(_dense(2 * c.width, "returns")(x))
        x = nn.Dropout(c.dropout, deterministic=not train)(x)
        return nn.gelu(_dense(c.width, "summary")(x))


class Frames(nn.Module):
    """Frames -> a vector."""

    config: Config

    @nn.compact
    def __call__(self, frames: Float[Array, "B T F"]) -> Float[Array, "B D"]:
        c = self.config
        x = _dense(c.width, "embedding")(frames)
        for number in range(c.strides):
            x = _norm(f"norm_{number}")(x)
            x = nn.gelu(Convolution(c.width, 5, 2, (2, 2), name=f"time_{number}")(x))
        x = jnp.concatenate([x.mean(1), x.max(1)], axis=-1)
        return nn.gelu(_dense(c.width, "summary")(_norm("norm")(x)))


class Model(nn.Module):
    """Music encoder with its heads."""

    config: Config

    def setup(self):
        c = self.config
        self.pitches = Pitches(c)
        self.time = Time(c)
        self.frames = Frames(c)
        self.norm = _norm(None)
        self.drop = nn.Dropout(c.dropout)
        self.heads = {
            head.name: _dense(head.classes // PITCHES if head.tonal else head.classes, None)
            for head in c.heads
        }

    def encode_audio(
        self, frames: Float[Array, "B T F"], *, train: bool = False
    ) -> Float[Array, "B E"]:
        """Frames of whole clips -> one vector."""
        return self(frames, train=train).pooled

    def __call__(self, frames: Float[Array, "B T F"], *, train: bool = False) -> Output:
        """Frames of clips that are all of one length -> vectors, and logits of each head."""
        c = self.config
        rows = len(frames)
        heard = frames[..., : c.bins]
        onsets = frames[..., c.bins :].reshape(rows, -1, c.bands)
        keys = self.pitches(heard)
        time = self.time(heard, onsets, train)
        rest = self.frames(frames)
        spectrum = jnp.concatenate([heard.mean(1), heard.std(1)], axis=-1)
        summaries = [keys.max(1), keys.mean(1), time, rest, spectrum]
        pooled = self.norm(jnp.concatenate(summaries, axis=-1))
        read = self.drop(pooled, deterministic=not train)
        logits = {}
        for head in c.heads:
            if head.tonal:
                of_pitches = self.heads[head.name](self.drop(keys, deterministic=not train))
                logits[head.name] = of_pitches.reshape(rows, -1)
            else:
                logits[head.name] = self.heads[head.name](read)
        tokens = jnp.concatenate([keys, time[:, None], rest[:, None]], axis=1)
        return Output(tokens, pooled, logits)


def _dense(features: int, name: str | None) -> Dense:
    return Dense((features,), ("embed", "mlp"), name=name)


def _norm(name: str | None) -> nn.LayerNorm:
    part = nn.with_logical_partitioning
    ones = part(nn.initializers.ones_init(), ("embed",))
    zeros = part(nn.initializers.zeros_init(), ("embed",))
    return nn.LayerNorm(scale_init=ones, bias_init=zeros, name=name)


def inputs(config: Config) -> tuple[Array, ...]:
    """What the model is called with to make its parameters, one row."""
    return (jnp.zeros((1, 2, config.frame)),)


VARIANTS = {"small": Config(), "base": Config(channels=32, width=256)}
