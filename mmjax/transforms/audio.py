"""Audio transforms: encoded bytes -> float32 [T] samples, with soundfile and soxr.

* A transform is a frozen dataclass, `(example, rng) -> example`, that replaces `example[field]`.
* WAV, FLAC, OGG and MP3; channels are averaged to one, and resampled to `rate` by soxr (high
  quality: band-limited).
* An example with `start` or `end` (seconds) is cut before it is decoded: a long recording is never
  decoded whole for one of its sentences.
* A file that is empty, cut short, too long or holds NaN raises `CorruptExample` with the reason;
  libsndfile itself reads a cut WAV file without complaint.

T samples.
"""

import dataclasses
import io
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from mmjax.data.source import CorruptExample, Example
from mmjax.typing import Float


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
        finite = np.isfinite(samples).all(1)
        if not finite.all():
            bad = np.count_nonzero(~finite)
            raise CorruptExample(f"{bad} of {len(samples)} samples are NaN or infinite")
        mono = samples.mean(1, dtype=np.float32)
        if rate != self.rate:
            mono = soxr.resample(mono, rate, self.rate).astype(np.float32, copy=False)
        if not len(mono):
            raise CorruptExample(f"no sound: {len(samples)} samples at {rate} Hz")
        return {**example, self.field: mono}

    def _read(self, data: bytes | Sound | np.ndarray, cut: Cut) -> tuple[np.ndarray, int]:
        """The samples, float32 [T, channels], and their rate."""
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
                first, last = _frames(cut, file.frames, file.samplerate)
                rate = file.samplerate
                if last - first > self.longest * rate:
                    raise CorruptExample(
                        f"{(last - first) / rate:.0f} seconds of sound; at most {self.longest:g} "
                        "are accepted (DecodeAudio.longest)"
                    )
                if first:
                    file.seek(first)
                samples = file.read(last - first, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise CorruptExample(f"not a readable sound file: {error.error_string}") from error
        if len(samples) < last - first:
            raise CorruptExample(
                f"cut short: {len(samples)} of {last - first} samples could be decoded"
            )
        if not len(samples):
            raise CorruptExample("no sound: the file holds 0 samples")
        return samples, rate

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
        samples = samples.astype(np.float32, copy=False)
        if samples.ndim == 1:
            samples = samples[:, None]
        first, last = _frames(cut, len(samples), sound.rate)
        return samples[first:last], sound.rate


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
