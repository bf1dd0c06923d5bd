"""Audio transforms: encoded bytes -> float32 [T] samples, with soundfile, PyAV and soxr.

* A transform is a frozen dataclass, `(example, rng) -> example`, that replaces `example[field]`.
* Whatever soundfile opens (WAV with A-law and the like, FLAC, OGG, MP3), and else what PyAV does
  (AAC, the sound track of a video: sound_track.py). Channels are averaged to one, and resampled to
  `rate` by soxr (high quality: band-limited).
* A recording is decoded block by block: its channels are never in memory together.
* An example with `start` or `end` (seconds) is cut before it is decoded: a long recording is never
  decoded whole for one of its sentences.
* A file that is empty, cut short, too long or holds NaN raises `CorruptExample` with the reason;
  libsndfile itself reads a cut WAV file without complaint.

T samples.
"""

import dataclasses
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from mmjax.data.source import CorruptExample, Example
from mmjax.transforms import sound_track
from mmjax.typing import Float


BLOCK = 1 << 20  # samples of each channel that are decoded at a time


class Sound(NamedTuple):
    """A sound as it is played, in reports and by inspect."""

    samples: Float[np.ndarray, " T"]  # -1..1, one channel
    rate: int  # samples per second


class Cut(NamedTuple):
    """The part of a recording that is meant, in seconds."""

    start: float
    end: float | None  # None: to the end of the recording


@dataclasses.dataclass(frozen=True)
class DecodeAudio:
    """A sound -> float32 [T] in -1..1, one channel at `rate`.

    A sound is the bytes of a file, a `Sound`, or samples [T] or [T, channels] at `rate` already.
    """

    rate: int = 16_000  # samples per second
    longest: float = 600.0  # seconds; a longer recording or cut is refused before it is decoded
    field: str = "audio"  # that it works on; `start` and `end` of the example cut it
    deterministic = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        cut = Cut(example.get("start", 0.0), example.get("end"))
        samples, rate = self._read(example[self.field], cut)
        finite = np.isfinite(samples)  # a mean over channels is not where one of them is not
        if not finite.all():
            bad = np.count_nonzero(~finite)
            raise CorruptExample(f"{bad} of {len(samples)} samples are NaN or infinite")
        out = samples
        if rate != self.rate:
            out = soxr.resample(samples, rate, self.rate).astype(np.float32, copy=False)
        if not len(out):
            raise CorruptExample(f"no sound: {len(samples)} samples at {rate} Hz")
        return {**example, self.field: out}

    def _read(self, data: bytes | Sound | np.ndarray, cut: Cut) -> tuple[np.ndarray, int]:
        """The samples, float32 [T], the mean of the channels, and their rate."""
        if isinstance(data, np.ndarray):
            data = Sound(data, self.rate)
        if isinstance(data, Sound):
            return self._samples(data, cut)
        if not data:
            raise CorruptExample("empty file")
        missing = missing_bytes(data)
        if missing:
            raise CorruptExample(f"the WAV file is cut short: {missing} of its bytes are missing")
        try:
            with soundfile.SoundFile(io.BytesIO(data)) as file:
                return self._decoded(file, cut), file.samplerate
        except soundfile.LibsndfileError as error:
            return self._track(data, cut, error)

    def _decoded(self, file: soundfile.SoundFile, cut: Cut) -> np.ndarray:
        first, last = _frames(cut, file.frames, file.samplerate)
        if last - first > self.longest * file.samplerate:
            raise CorruptExample(
                f"{(last - first) / file.samplerate:.0f} seconds of sound; at most "
                f"{self.longest:g} are accepted (DecodeAudio.longest)"
            )
        if first:
            file.seek(first)
        blocks = file.blocks(BLOCK, frames=last - first, dtype="float32", always_2d=True)
        parts = [block.mean(1, dtype=np.float32) for block in blocks]
        samples = np.concatenate([np.zeros(0, np.float32), *parts])
        if len(samples) < last - first:
            raise CorruptExample(
                f"cut short: {len(samples)} of {last - first} samples could be decoded"
            )
        if not len(samples):
            raise CorruptExample("no sound: the file holds 0 samples")
        return samples

    def _track(self, data: bytes, cut: Cut, error: Exception) -> tuple[np.ndarray, int]:
        """Of a file that soundfile does not open.

        Raises:
          CorruptExample: what soundfile said, where PyAV does not know better.
        """
        try:
            track = sound_track.read(data, self.longest)
        except CorruptExample as other:
            if str(other).startswith("not a readable"):
                raise CorruptExample(f"not a readable sound file: {error.error_string}") from error
            raise
        first, last = _frames(cut, len(track.samples), track.rate)
        return track.samples[first:last], track.rate

    def _samples(self, sound: Sound, cut: Cut) -> tuple[np.ndarray, int]:
        """Of a sound that is decoded already.

        Raises:
          TypeError: integers, whose range is not known, or more axes than two.
        """
        samples = np.asarray(sound.samples)
        if samples.dtype.kind != "f" or samples.ndim not in (1, 2):
            raise TypeError(
                f"samples are floating-point [T] or [T, channels] in -1..1, not {samples.dtype} "
                f"{list(samples.shape)}"
            )
        first, last = _frames(cut, len(samples), sound.rate)
        samples = samples[first:last].astype(np.float32, copy=False)
        if samples.ndim == 2:
            samples = samples.mean(1, dtype=np.float32)
        return samples, sound.rate


def _frames(cut: Cut, frames: int, rate: int) -> tuple[int, int]:
    """(first, behind the last) of a cut. Raises CorruptExample where it is not in the recording."""
    if cut.start == 0 and cut.end is None:
        return 0, frames
    seconds = frames / rate
    end = seconds if cut.end is None else cut.end
    # Times are often rounded: a hundredth of a second beyond the end is the end.
    if not 0 <= cut.start < end <= seconds + 0.01:
        raise CorruptExample(
            f"a cut from {cut.start:g} to {end:g} seconds of a recording of {seconds:.2f}; it has "
            "to begin before it ends, and lie inside"
        )
    return round(cut.start * rate), min(round(end * rate), frames)


def missing_bytes(data: bytes) -> int:
    """How much a WAV file's `data` chunk promises beyond the end of the file; 0 for other formats.

    Files written to a pipe promise 0 or 2**32 - 1 bytes (or nearly so), which promises nothing.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return 0
    start = 12
    while start + 8 <= len(data):
        size = int.from_bytes(data[start + 4 : start + 8], "little")
        if data[start : start + 4] == b"data":
            return 0 if size >= 0x7FFF_0000 else max(0, start + 8 + size - len(data))
        start += 8 + size + size % 2  # chunks begin at even bytes
    return 0


def seconds_of(path: str | Path) -> float | None:
    """The length of a recording as its header states it; None where it does not."""
    try:
        return soundfile.info(str(path)).duration
    except (soundfile.LibsndfileError, OSError):
        return sound_track.seconds_of(path)
