"""Clips between words: what an audio tower reads of them, and how many tokens each becomes.

* Log-mel frames (transforms/mel.py) for Whisper's encoder, samples of zero mean and unit variance
  for wav2vec 2.0.
* `audio_mask` says what of a batch is sound. To a tower that is told so the rest does not exist:
  what it makes of a clip is what it makes of it in a window of 30 seconds, but for rounding, at the
  price of the batch's longest clip. A Whisper that is not told gets the whole window.

Letters: B rows, M clips of a row at most, T frames or samples, F mel bins.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import soundfile

from mmjax.config import ConfigError
from mmjax.data import messages
from mmjax.data.batching import Transform
from mmjax.data.source import CorruptExample, Example
from mmjax.models import token_tower, wav2vec2, whisper_encoder
from mmjax.processors.base import AtLeast
from mmjax.transforms.audio import DecodeAudio, Sound
from mmjax.transforms.dialogue import things_of
from mmjax.transforms.mel import LogMel
from mmjax.typing import Bool, Float, Natural, Positive

MARGIN = 4  # frames behind the last sound that the encoder's convolutions look at
STEP = 0.2  # seconds that the lengths of batches are rounded up to: fewer compilations


class Clip(NamedTuple):
    """What a tower reads of a clip."""

    values: Float[np.ndarray, "T ..."]  # frames [T, F] or samples [T]
    sound: int  # of which so many are sound


@dataclasses.dataclass(frozen=True)
class Clips:
    """Clips -> frames or samples of their own length."""

    tower: token_tower.Config  # which counts tokens
    mel: LogMel = LogMel()  # of clips; its `seconds` are the longest that the model takes
    step: int = 1  # frames or samples that the length of a batch is rounded up to

    @property
    def waves(self) -> bool:
        """Whether the tower reads samples."""
        return isinstance(self.tower.encoder, wav2vec2.Config)

    def __call__(self, clip: Any) -> Clip:
        """A clip in any form: a path, bytes, samples at the rate of `mel`, a `Sound`.

        Raises:
          CorruptExample: one that cannot be read, is too long, or too short for a token.
        """
        data = messages.contents(clip, "clip")
        samples = DecodeAudio(self.mel.rate)({"audio": data})["audio"]
        self.check(len(samples))
        if self.waves:
            scaled = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
            return Clip(scaled.astype(np.float32), len(samples))
        features = self.mel.batch([samples])
        sound = int(features.mask.sum())
        frames = features.features[0]
        return Clip(frames[: sound + MARGIN] if self.tower.masked else frames, sound)

    def check(self, samples: int) -> None:
        """Raises CorruptExample for a clip of so many samples that the model cannot take."""
        seconds = samples / self.mel.rate
        longest = self.mel.seconds
        if longest is not None and samples > round(longest * self.mel.rate):
            raise CorruptExample(
                f"a clip of {seconds:.2f} seconds; the model hears {longest:g} at a time: cut it up"
            )
        if self.tokens(samples) < 1:
            raise CorruptExample(f"a clip of {seconds:.3f} seconds is too short for one token")

    def frames(self, samples: int) -> int:
        """Frames or samples of the tower's input that are sound."""
        return samples if self.waves else -(-samples // self.mel.hop)

    def tokens(self, samples: int) -> int:
        """Tokens of a prompt that a clip of so many samples takes."""
        return int(self.tower.tokens(self.frames(samples)))

    def length(self, samples: int) -> int:
        """T of a clip of so many samples, MARGIN included and rounded up."""
        if self.waves:
            return self.rounded(samples)
        window = round(self.mel.seconds * self.mel.rate) // self.mel.hop
        if not self.tower.masked:
            return window
        return min(self.rounded(self.frames(samples) + MARGIN), window)

    def rounded(self, length: int) -> int:
        """A length that batches have."""
        return self.step * -(-length // self.step)

    def batch(
        self, rows: Sequence[Sequence[Clip]]
    ) -> tuple[Float[np.ndarray, "B M T ..."], Bool[np.ndarray, "B M T"]]:
        """The clips of each row, and which frames of them are sound."""
        lengths = [len(clip.values) for row in rows for clip in row]
        most = max(map(len, rows))
        length = self.rounded(max(lengths, default=0))
        if not self.waves:
            length = min(length, round(self.mel.seconds * self.mel.rate) // self.mel.hop)
        values = () if self.waves else (self.mel.bins,)
        audio = np.zeros((len(rows), most, length, *values), np.float32)
        mask = np.zeros((len(rows), most, length), bool)
        for number, row in enumerate(rows):
            for place, clip in enumerate(row):
                audio[number, place, : len(clip.values)] = clip.values
                mask[number, place, : clip.sound] = True
        return audio, mask


@dataclasses.dataclass(frozen=True)
class EachClip:
    """`audio`, one clip, several or none -> [M, T, F] or [M, T], its mask, and `audio_tokens`."""

    clips: Clips
    most: int  # M; an example with more is corrupt
    field: ClassVar[str] = "audio"
    deterministic: ClassVar[bool] = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        heard = things_of(example, "audio")
        _check_count(len(heard), self.most)
        made = [self.clips(clip) for clip in heard]
        tokens = tuple(int(self.clips.tower.tokens(clip.sound)) for clip in made)
        audio, mask = self.clips.batch([made])
        return {**example, "audio": audio[0], "audio_mask": mask[0], "audio_tokens": tokens}


@dataclasses.dataclass(frozen=True)
class Config:
    """What becomes of the clips of conversations; the model's tower follows it."""

    bins: Natural = 80  # mel bins of a frame; 0: the tower reads samples (wav2vec 2.0)
    seconds: float = 30.0  # of a clip at most; a longer one is refused
    max_clips: Positive = 1  # M: a row has at most so many
    stack: Positive = 1  # neighbouring vectors of the encoder that lie side by side in a token
    pool: Positive = 1  # that Whisper's encoder averages before its last norm
    # the encoder is told what is padding, so that a batch is as long as its longest clip; False: a
    # Whisper hears the silence of the whole window, as it was trained to
    masked: bool = True
    # seconds that batches are padded up to, rising; (): up to the longest clip of all
    buckets: tuple[float, ...] = ()
    fixed: ClassVar[bool] = False  # clips have their own lengths
    alike: ClassVar[int] = 0  # batches of rows that come as they are planned

    def __post_init__(self) -> None:
        if not self.bins and self.pool > 1:
            raise ConfigError("pool is of Whisper's encoder, and bins=0 says that there is none")

    @property
    def clips(self) -> Clips:
        if not self.bins:
            encoder: Any = wav2vec2.Config()
        else:
            frames = max(1, round(100 * self.seconds))
            encoder = whisper_encoder.Config(self.bins, frames, pool=self.pool)
        tower = token_tower.Config(encoder, self.stack, masked=self.masked)
        mel = LogMel(bins=self.bins or 80, seconds=self.seconds)
        return Clips(tower, mel, round(STEP * self.rate))

    @property
    def rate(self) -> int:
        """Frames or samples per second."""
        return 100 if self.bins else 16_000

    @property
    def transform(self) -> EachClip:
        return EachClip(self.clips, self.max_clips)

    def transforms(self, train: bool) -> tuple[Transform, ...]:
        """Conversation and raw clips -> prepared clips."""
        return (self.transform,)

    @property
    def most(self) -> int:
        """M."""
        return self.max_clips

    def room(self) -> int:
        """Tokens of what `paper` returns."""
        return self.clips.tokens(len(self.paper()))

    @property
    def sizes(self) -> Mapping[str, Any]:
        """Of the model's tower, as `Processor.sizes` has them."""
        sizes: dict[str, Any] = {"audio.stack": self.stack, "audio.masked": self.masked}
        if self.bins:
            sizes["audio.encoder.bins"] = self.bins
            sizes["audio.encoder.pool"] = self.pool
            sizes["audio.encoder.frames"] = AtLeast(round(100 * self.seconds))
        return sizes

    def measured(self, example: Example) -> tuple[Example, int]:
        """An example with its `audio_tokens`, and the frames or samples of its longest clip, of
        which no more than the heads of files is read; both may be a little more than they are.

        Raises:
          CorruptExample: clips that cannot be used.
        """
        clips = self.clips
        heard = things_of(example, "audio")
        _check_count(len(heard), self.max_clips)
        samples = [samples_of(clip, clips.mel.rate) for clip in heard]
        for count in samples:
            clips.check(count - 1)
        tokens = tuple(map(clips.tokens, samples))
        longest = max(map(clips.length, samples), default=1)
        return {**example, "audio_tokens": tokens}, longest

    def edges(self, lengths: Sequence[np.ndarray]) -> tuple[int, ...]:
        """Frames or samples that batches are padded up to, of which the last hold the longest."""
        longest = max(int(rows.max()) for rows in lengths)
        edges = {min(round(seconds * self.rate), longest) for seconds in self.buckets}
        return tuple(sorted(edges | {longest}))

    def paper(self) -> Float[np.ndarray, " T"]:
        """A silent clip as long as may be."""
        return np.zeros(round(self.seconds * 16_000), np.float32)

    def shown(self, audio: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        """The clips of a row one behind the other: a grey picture, or a sound."""
        there = [clip[: sound.sum()] for clip, sound in zip(audio, mask, strict=True)]
        there = [clip for clip in there if len(clip)]
        if not there:
            return {}
        whole = np.concatenate(there)
        if not self.bins:
            return {"audio": Sound(whole / np.abs(whole).max(initial=1e-6), 16_000)}
        grey = np.clip((whole.T[::-1] + 1) / 2.5 * 255, 0, 255).astype(np.uint8)
        return {"audio": np.repeat(grey[..., None], 3, axis=2)}


def _check_count(clips: int, most: int) -> None:
    if clips > most:
        raise CorruptExample(f"{clips} clips, more than audio.max_clips={most}")


def samples_of(clip: Any, rate: int) -> int:
    """How many samples a clip has at a rate, one more at most, of which no more than its head is
    read.

    Raises:
      CorruptExample: it is no sound.
    """
    if isinstance(clip, np.ndarray):
        return len(clip)
    if isinstance(clip, Sound):
        seconds = len(clip.samples) / clip.rate
    else:
        try:
            seconds = soundfile.info(io.BytesIO(clip) if isinstance(clip, bytes) else clip).duration
        except (soundfile.LibsndfileError, OSError) as error:
            raise CorruptExample(f"not a readable sound file: {error}") from error
    return int(np.ceil(seconds * rate)) + 1
