"""The sound half of a processor: recordings -> log-mel frames or samples, and how long they are.

* A part of other processors (spoken.py), which put their texts beside it: transforms for training
  and evaluation, bounds of lengths for batches, what is shown to people.
* "mel": frames of 25 ms every 10 ms, of each clip at its own length. "samples": zero mean and unit
  variance, as wav2vec 2.0 reads them.
* Longer recordings than `longest` are refused one by one, and counted: nothing says where the text
  of one could be cut. `windows` cuts sound without text.

Letters: R rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.alike import Alike
from mmjax.data.batching import Transform
from mmjax.data.plan import BatchPlan, Bucketed
from mmjax.data.source import Source
from mmjax.transforms import augment_audio
from mmjax.transforms.audio import DecodeAudio
from mmjax.transforms.durations import Lasting, durations
from mmjax.transforms.mel import LogMel
from mmjax.transforms.samples import NormalizeAudio
from mmjax.typing import Int, Natural, Positive

FIELD = "audio"


@dataclasses.dataclass(frozen=True)
class Config:
    kind: Literal["mel", "samples"] = "mel"  # what the model reads
    rate: Positive = 16_000  # samples per second that recordings are brought to
    bins: Positive = 80  # of the mel scale
    shortest: float = 0.1  # seconds; a shorter recording is refused
    longest: float = 20.0  # seconds; a longer recording is refused
    # lengths in seconds that training batches are padded up to; (): four, each half of the next
    buckets: tuple[float, ...] = ()
    # so many training batches that follow each other are dealt out by length; 0: left as they come
    alike: Natural = 16
    augmentation: augment_audio.Config = augment_audio.Config()  # of training recordings

    @property
    def step(self) -> int:
        """Samples that one unit of length stands for."""
        return self.rate // 100 if self.kind == "mel" else 1

    @property
    def train(self) -> tuple[Transform, ...]:
        """Recording -> what the model reads, with augmentation."""
        of_sound, of_frames = augment_audio.transforms(self.augmentation, self.rate)
        if of_frames and self.kind == "samples":
            raise ConfigError("augmentation.masks are of spectrograms: kind is 'samples'")
        return (*self._decoded, *of_sound, self._reading, *of_frames)

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        """The same without augmentation."""
        return (*self._decoded, self._reading)

    @property
    def _decoded(self) -> tuple[Transform, ...]:
        return (DecodeAudio(self.rate), Lasting(self.shortest, self.longest, self.rate))

    @property
    def _reading(self) -> Transform:
        if self.kind == "samples":
            return NormalizeAudio()
        frame = round(self.rate * 0.025)
        return LogMel(self.bins, self.rate, frame, self.step, seconds=None)

    def lengths(self, source: Source, *, train: bool) -> Int[np.ndarray, " R"]:
        """A bound of each row's length in units; 1 where it cannot be read or is refused."""
        seconds = durations(source, FIELD)
        seconds[seconds > self.longest] = 0.0  # the pipeline says so
        stretch = augment_audio.longest(self.augmentation) if train else 1.0
        units = np.ceil(seconds * stretch * self.rate / self.step) + 1
        return np.maximum(units, 1).astype(np.int32)

    def plan(self, plan: BatchPlan, sources: Sequence[Source], seed: int = 0) -> BatchPlan:
        """Training batches of recordings that are alike in length, padded to the next bucket."""
        lengths = [self.lengths(source, train=True) for source in sources]
        if self.alike:
            plan = Alike(plan, lengths, self.alike, seed)
        longest = max(int(rows.max()) for rows in lengths)
        seconds = self.buckets or tuple(self.longest / 2**power for power in range(4))
        edges = {min(longest, round(edge * self.rate / self.step)) for edge in seconds}
        return Bucketed(plan, lengths, tuple(sorted(edges | {longest})), FIELD)
