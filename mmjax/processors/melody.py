"""The processor of music: clips of one length -> frames of pitches and onsets, and their labels.

* A clip is cut or filled up to `seconds`, in training as in evaluation; longer ones are heard from
  their beginning.
* In training every clip is shifted by semitones, and the labels that name a pitch class with it
  (transforms/log_frequency.py). Other labels stay as they are.

Letters: B batch, T frames, F values of a frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.data.batching import Transform
from mmjax.data.collation import Arrays
from mmjax.data.source import Example
from mmjax.processors import base
from mmjax.processors.base import Sources
from mmjax.transforms.audio import DecodeAudio
from mmjax.transforms.log_frequency import LogFrequency, Transpose
from mmjax.transforms.mel import picture
from mmjax.typing import Natural, Positive


@dataclasses.dataclass(frozen=True)
class Label:
    """A field that names a class, below 0 where it is not known."""

    field: str  # of the data
    # classes of each of the twelve pitch classes, those of C first, which move with the pitch; 0:
    # it stays when a clip is shifted
    tonal: Natural = 0


@dataclasses.dataclass(frozen=True)
class Config:
    seconds: float = 10.0  # of a clip
    rate: Positive = 16_000  # samples per second
    octaves: Positive = 6  # that are heard, from the C two octaves below the middle one
    bins_per_octave: Positive = 12  # a multiple of 12
    hop: Positive = 800  # samples from frame to frame
    onsets: Positive = 4  # onset frames in a frame
    transpose: Natural = 0  # semitones that training clips are shifted by, up or down, at most
    labels: tuple[Label, ...] = ()  # what clips are labelled with

    @property
    def front(self) -> LogFrequency:
        """Samples -> frames."""
        return LogFrequency(
            self.rate, octaves=self.octaves, bins_per_octave=self.bins_per_octave, hop=self.hop,
            onsets=self.onsets,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Fit:
    """`audio` [S] -> [seconds * rate]: cut, or with silence behind it."""

    samples: int
    field: ClassVar[str] = "audio"
    deterministic: ClassVar[bool] = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        audio = example["audio"][: self.samples]
        return {**example, "audio": np.pad(audio, (0, self.samples - len(audio)))}


class Processor(base.Processor):
    """Frames [T, F], all clips of one length."""

    arguments = {"audio": "frames"}

    def __init__(self, config: Config):
        self.config = config
        self.front = config.front

    @property
    def train(self) -> tuple[Transform, ...]:
        c = self.config
        if not c.transpose:
            return self.evaluate
        labels = tuple((label.field, label.tonal) for label in c.labels if label.tonal)
        shift = Transpose(self.front.bins, c.bins_per_octave // 12, c.transpose, labels)
        return (*self.evaluate, shift)

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        c = self.config
        return (DecodeAudio(c.rate), Fit(round(c.seconds * c.rate)), self.front)

    @property
    def sizes(self) -> Mapping[str, Any]:
        c = self.config
        return {
            "bins": self.front.bins,
            "bins_per_octave": c.bins_per_octave,
            "onsets": c.onsets,
        }

    def show(self, arrays: Arrays, row: int) -> dict[str, Any]:
        """The pitches as a grey picture, low ones below."""
        frames = np.asarray(arrays["audio"][row], np.float32)
        return {"audio": picture(frames[:, : self.front.bins])}


def build(config: Config, sources: Sources | None, saved: Path | None) -> Processor:
    """The processor; nothing of it is learned."""
    return Processor(config)


def paper(config: Config) -> Example:
    """A silent clip with labels, for plans on paper."""
    silence = np.zeros(round(config.seconds * config.rate), np.float32)
    return {"audio": silence, "group": 0, **{label.field: 0 for label in config.labels}}
