"""The sound half of a processor: recordings -> log-mel frames or samples, and how long they are.

* A part of other processors (spoken.py, audio_text.py), which put their texts beside it: transforms
  for training and evaluation, bounds of lengths for batches, what is shown to people.
* "mel": Whisper's log-mel frames, by default of 25 ms every 10 ms; "ast": those of the Audio
  Spectrogram Transformer; "samples": zero mean and unit variance, as wav2vec 2.0 reads them. Each
  of a clip at its own length. "clap": CLAP's pictures of 10 seconds, [N, T, M], all alike; with
  fusion four, of which `audio_mask` [N] says which are to be looked at.
* Recordings longer than `longest` are refused one by one, and counted, where nothing says which
  part of a text goes with a part of the sound. A text about all of it goes with any part: training
  takes a stretch at random, evaluation the middle. CLAP's fusion looks at all of it.

Letters: R rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mmjax.config import ConfigError
from mmjax.data.alike import alike
from mmjax.data.batching import Transform
from mmjax.data.plan import BatchPlan, Bucketed, Mixture, Shape
from mmjax.data.source import Source
from mmjax.transforms import augment_audio
from mmjax.transforms.audio import DecodeAudio, Sound
from mmjax.transforms.durations import Lasting, durations
from mmjax.transforms.mel import LogMel, picture
from mmjax.transforms.mel_ast import AstMel
from mmjax.transforms.mel_clap import ClapMel
from mmjax.transforms.samples import MiddleStretch, NormalizeAudio, RandomStretch, Repeated
from mmjax.typing import Float, Int, Natural, Positive

FIELD = "audio"


@dataclasses.dataclass(frozen=True)
class Config:
    kind: Literal["mel", "ast", "clap", "samples"] = "mel"  # what the model reads
    rate: Positive = 16_000  # samples per second that recordings are brought to
    bins: Positive = 80  # of the mel scale
    frame: float = 0.025  # seconds of a frame of "mel"
    hop: float = 0.01  # seconds from a frame of "mel" to the next
    shortest: float = 0.1  # seconds; a shorter recording is refused
    longest: float = 20.0  # seconds; a longer recording is refused, or cut
    long: Literal["refuse", "cut"] = "refuse"  # what becomes of a longer one
    fusion: bool = False  # "clap" sees a longer one as a whole, shrunk, beside three crops of it
    repeat: bool = False  # a shorter one is repeated as often as it fits whole into `longest`
    # lengths in seconds that training batches are padded up to; (): four, each half of the next
    buckets: tuple[float, ...] = ()
    # so many training batches that follow each other are dealt out by length; 0: left as they come
    alike: Natural = 16
    augmentation: augment_audio.Config = augment_audio.Config()  # of training recordings

    def __post_init__(self) -> None:
        if self.fusion and (self.kind != "clap" or self.long != "cut"):
            raise ConfigError(
                f'fusion is of clips that may be longer than CLAP\'s window: take kind="clap" and '
                f'long="cut", not kind={self.kind!r} and long={self.long!r}'
            )

    @property
    def step(self) -> int:
        """Samples that one unit of length stands for."""
        if self.kind == "samples":
            return 1
        return round(self.rate * (self.hop if self.kind == "mel" else 0.01))

    @property
    def train(self) -> tuple[Transform, ...]:
        """Recording -> what the model reads, with augmentation."""
        of_sound, of_frames = augment_audio.transforms(self.augmentation, self.rate)
        if of_frames and self.kind in ("samples", "clap"):
            raise ConfigError(
                f"augmentation.masks are of spectrograms of any length: kind is {self.kind!r}"
            )
        cut = (RandomStretch(self._most),) if self._cuts else ()
        return (*self._decoded, *of_sound, *cut, *self._repeated, self._reading, *of_frames)

    @property
    def evaluate(self) -> tuple[Transform, ...]:
        """The same without augmentation."""
        cut = (MiddleStretch(self._most),) if self._cuts else ()
        return (*self._decoded, *cut, *self._repeated, self._reading)

    @property
    def _cuts(self) -> bool:
        """Whether a longer recording loses what is not looked at before it is read."""
        return self.long == "cut" and not self.fusion

    @property
    def _most(self) -> int:
        """Samples of a clip."""
        return round(self.longest * self.rate)

    @property
    def _decoded(self) -> tuple[Transform, ...]:
        longest = self.longest if self.long == "refuse" else math.inf
        return (DecodeAudio(self.rate), Lasting(self.shortest, longest, self.rate))

    @property
    def _repeated(self) -> tuple[Transform, ...]:
        return (Repeated(self._most),) if self.repeat else ()

    @property
    def _reading(self) -> Transform:
        if self.kind == "samples":
            return NormalizeAudio()
        if self.kind == "ast":
            return AstMel(self.bins, self.rate, frames=None)
        if self.kind == "clap":
            truncation = "fusion" if self.fusion else "rand_trunc"
            return ClapMel(truncation, "repeatpad", self.bins, self.rate, round(self.longest))
        return self.log_mel

    @property
    def log_mel(self) -> LogMel:
        """The frames of "mel"."""
        frame = round(self.rate * self.frame)
        return LogMel(self.bins, self.rate, frame, self.step, seconds=None)

    @property
    def ragged(self) -> Mapping[str, int]:
        """As of a processor: whether clips differ in length."""
        return {} if self.kind == "clap" else {FIELD: 1}

    @property
    def frames(self) -> int:
        """Frames or samples of the longest clip, at most."""
        return int(self._units(np.asarray([self.longest])).max())

    def _units(self, seconds: Float[np.ndarray, " R"]) -> Int[np.ndarray, " R"]:
        """A bound of the frames or samples of so many seconds."""
        return np.ceil(seconds * self.rate / self.step).astype(np.int32) + 1

    def lengths(self, source: Source, *, train: bool) -> Int[np.ndarray, " R"]:
        """A bound of each row's length in units; 1 where it cannot be read or is refused."""
        seconds = durations(source, FIELD)
        if self.long == "refuse":
            seconds[seconds > self.longest] = 0.0  # the pipeline says so
        stretched = seconds * (augment_audio.longest(self.augmentation) if train else 1.0)
        if self.long == "cut":
            stretched = np.minimum(stretched, self.longest)
        if self.repeat:
            stretched = np.where(seconds > 0, np.maximum(stretched, self.longest), 0.0)
        return np.where(seconds > 0, self._units(stretched), 1)

    def shape(self, source: Source) -> Shape:
        """What an evaluation's clips are padded to."""
        if not self.ragged:
            return {}
        return {FIELD: (int(self.lengths(source, train=False).max()),)}

    def shown(self, arrays: Mapping[str, np.ndarray], row: int) -> dict[str, Any]:
        """A clip of a batch as people see it: of frames a picture, low frequencies below; of
        samples a sound."""
        if FIELD not in arrays:
            return {}
        clip = np.asarray(arrays[FIELD][row], np.float32)
        if f"{FIELD}_mask" in arrays:  # of frames; with fusion of pictures
            clip = clip[np.asarray(arrays[f"{FIELD}_mask"][row]).astype(bool)]
        if not len(clip):
            return {}
        if self.kind == "samples":
            return {FIELD: Sound(clip / np.abs(clip).max(initial=1e-6), self.rate)}
        return {FIELD: picture(clip[0] if self.kind == "clap" else clip)}

    def plan(self, plan: Mixture, sources: Sequence[Source], seed: int = 0) -> BatchPlan:
        """Training batches of recordings that are alike in length, padded to the next bucket."""
        if self.alike > 1:
            lengths = [self.lengths(source, train=True) for source in sources]
            plan = alike(plan, lengths, self.alike, seed)
        return self.bucketed(plan, sources)

    def bucketed(self, plan: BatchPlan, sources: Sequence[Source]) -> BatchPlan:
        """Training batches as they come, padded to the next bucket."""
        if not self.ragged:
            return plan
        lengths = [self.lengths(source, train=True) for source in sources]
        longest = max(int(rows.max()) for rows in lengths)
        edges = {min(longest, edge) for edge in self.edges(longest)}
        return Bucketed(plan, lengths, tuple(sorted(edges)), FIELD)

    def edges(self, longest: int) -> tuple[int, ...]:
        """Lengths that batches are padded up to; the last holds so many frames or samples."""
        seconds = self.buckets or tuple(self.longest / 2**power for power in range(4))
        return tuple(sorted({*self._units(np.asarray(seconds)).tolist(), longest}))

