"""Log-mel spectrograms as Whisper has them (https://arxiv.org/abs/2212.04356), in numpy.

* Frames of 25 ms every 10 ms, a periodic Hann window, power, triangular filters of Slaney's scale,
  log10 cut off 8 below the loudest value of the clip, scaled to about -1..1.
* Frame t is centred at sample t * hop: the ends are mirrored. The frame behind the last one is left
  out, so that 30 seconds are 3,000 frames.
* Frames are transformed block by block: an hour takes no more memory inside than half a minute.
* Frames that lie in the padding are not computed: their value is known, and a clip of 5 seconds
  costs a sixth of one of 30.
* layers/spectrogram.py computes the same in a graph.

Letters: T frames, M mel bins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mmjax.data.source import CorruptExample, Example
from mmjax.layers.mel_scale import Bank
from mmjax.layers.spectrum import Spectrum
from mmjax.transforms.audio import Sound
from mmjax.typing import Bool, Float, UInt8

LOWEST_POWER = 1e-10  # silence, where the logarithm would be minus infinity
BLOCK = 3_000  # frames that are transformed at a time
RANGE = 8.0  # decades below the loudest value that are kept


class Features(NamedTuple):
    """A batch of spectrograms and which of its frames are sound."""

    features: Float[np.ndarray, "B T M"]
    mask: Bool[np.ndarray, "B T"]  # False: padding; Whisper itself looks at all of them


def spectrogram(sound: Sound, bins: int = 64) -> UInt8[np.ndarray, "M T 3"]:
    """A sound as a grey picture: time to the right, low frequencies below."""
    samples = np.asarray(sound.samples, np.float32)
    shortest = 400  # a frame of 25 ms at 16 kHz
    samples = np.pad(samples, (0, max(0, shortest - len(samples))))
    mel = LogMel(bins=bins, rate=sound.rate, seconds=None).batch([samples])
    return picture(mel.features[0])


def picture(features: Float[np.ndarray, "T M"]) -> UInt8[np.ndarray, "M T 3"]:
    """Frames as a grey picture, from the quietest value to the loudest."""
    loudness = features.T[::-1]
    span = max(float(np.ptp(loudness)), 1e-6)
    grey = ((loudness - loudness.min()) / span * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


@dataclasses.dataclass(frozen=True)
class LogMel:
    """float32 [T] samples -> float32 [frames, bins]; also called on whole batches."""

    bins: int = 80  # M; 128 for large-v3
    rate: int = 16_000  # samples per second
    window: int = 400  # samples of a frame
    hop: int = 160  # samples from frame to frame
    seconds: float | None = 30.0  # clips are padded with silence to this; None: left as they are
    truncate: bool = False  # a longer clip is cut, as the reference does; False: it is refused
    field: str = "audio"  # that it works on
    deterministic = True

    @property
    def spectrum(self) -> Spectrum:
        """Its frames and filters: to 8 kHz, or half of a lower rate."""
        high = min(8_000.0, self.rate / 2)
        bank = Bank(self.bins, self.window, self.rate, high=high)
        return Spectrum(bank, self.window, self.hop)

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        return {**example, self.field: self.batch([example[self.field]]).features[0]}

    def batch(self, clips: Sequence[np.ndarray]) -> Features:
        """Clips of any lengths, each [samples] -> one array, as long as the longest needs.

        Raises:
          CorruptExample: a clip that is too long, or too short to be mirrored.
          ValueError: a clip that is not of one channel.
        """
        clips = [self._checked(np.asarray(clip, np.float32)) for clip in clips]
        longest = max(len(clip) for clip in clips)
        samples = longest if self.seconds is None else round(self.seconds * self.rate)
        frames = samples // self.hop
        features = np.empty((len(clips), frames, self.bins), np.float32)
        for clip, out in zip(clips, features, strict=True):
            self._fill(clip, samples, out)
        starts = np.arange(frames) * self.hop
        return Features(features, starts < np.array([len(clip) for clip in clips])[:, None])

    def _checked(self, clip: np.ndarray) -> np.ndarray:
        if clip.ndim != 1:
            raise ValueError(f"a clip is [samples] of one channel, not {list(clip.shape)}")
        seconds = len(clip) / self.rate
        if self.seconds is None and len(clip) <= self.window // 2:
            shortest = (self.window // 2 + 1) / self.rate
            raise CorruptExample(
                f"{seconds:.4f} seconds of sound ({len(clip)} samples); a spectrogram needs at "
                f"least {shortest:.4f}, which is more than half a frame"
            )
        if self.seconds is None or len(clip) <= round(self.seconds * self.rate):
            return clip
        if not self.truncate:
            raise CorruptExample(
                f"{seconds:.2f} seconds of sound; the model takes {self.seconds:g} at a time: cut "
                "it up, or set truncate to lose the rest"
            )
        return clip[: round(self.seconds * self.rate)]

    def frames(self, clip: np.ndarray, samples: int) -> np.ndarray:
        """The samples of each frame of a clip padded to `samples`, [T, window]; a view."""
        return self.spectrum.cut(np.pad(clip, (0, samples - len(clip))))

    def reached(self, clip: int, frames: int) -> int:
        """How many of the frames reach any sound of a clip of so many samples."""
        return min(frames, -(-(clip + self.window // 2) // self.hop))

    def logarithms(self, frames: Float[np.ndarray, "T W"]) -> Float[np.ndarray, "T M"]:
        """log10 of each frame's power in the bins, float64; the same beside any other frames."""
        return np.log10(np.maximum(self.spectrum.power(frames), LOWEST_POWER))

    def scale(self, logs: Iterable[np.ndarray], out: np.ndarray) -> None:
        """The features [U, M] of a clip from blocks of its logarithms [T, M]; silence behind."""
        silence = np.log10(LOWEST_POWER)
        loudest = silence
        done = 0
        for log in logs:
            out[done : done + len(log)] = log
            done += len(log)
            loudest = max(loudest, log.max(initial=silence))
        out[done:] = silence
        np.maximum(out, loudest - RANGE, out=out)
        out += 4.0
        out /= 4.0

    def _fill(self, clip: np.ndarray, samples: int, out: np.ndarray) -> None:
        """The spectrogram of a clip padded to so many samples."""
        frames = self.frames(clip, samples)[: self.reached(len(clip), len(out))]
        starts = range(0, len(frames), BLOCK)
        self.scale((self.logarithms(frames[start : start + BLOCK]) for start in starts), out)
