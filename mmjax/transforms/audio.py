"""Audio transforms: encoded bytes -> float32 [T] samples, with soundfile and soxr.

* A transform is a frozen dataclass, `(example, rng) -> example`, that replaces `example["audio"]`.
* WAV, FLAC, OGG and MP3; channels are averaged to one, and resampled to `rate` by soxr (high
  quality: band-limited).
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


class Sound(NamedTuple):
    """A sound as people hear it."""

    samples: np.ndarray  # float32 [T], -1..1
    rate: int  # samples per second


@dataclasses.dataclass(frozen=True)
class DecodeAudio:
    """`audio`: bytes of a sound file -> float32 [T] in -1..1, one channel at `rate`."""

    rate: int = 16_000  # samples per second
    longest: float = 600.0  # seconds; a longer recording is refused before it is decoded
    deterministic = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        samples, rate = self._read(example["audio"])
        if not np.isfinite(samples).all():
            bad = int(np.count_nonzero(~np.isfinite(samples).all(1)))
            raise CorruptExample(f"{bad} of {len(samples)} samples are NaN or infinite")
        mono = samples.mean(1, dtype=np.float32)
        if rate != self.rate:
            mono = soxr.resample(mono, rate, self.rate).astype(np.float32, copy=False)
        if not len(mono):
            raise CorruptExample(f"no sound: {len(samples)} samples at {rate} Hz")
        return {**example, "audio": mono}

    def _read(self, data: bytes) -> tuple[np.ndarray, int]:
        """The samples, float32 [T, channels], and their rate."""
        if not data:
            raise CorruptExample("empty file")
        missing = missing_bytes(data)
        if missing:
            raise CorruptExample(f"the WAV file is cut short: {missing} of its bytes are missing")
        try:
            with soundfile.SoundFile(io.BytesIO(data)) as file:
                frames, rate = file.frames, file.samplerate
                if frames > self.longest * rate:
                    raise CorruptExample(f"{frames / rate:.0f} seconds of sound; at most "
                                         f"{self.longest:g} are accepted (DecodeAudio.longest)")
                samples = file.read(dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise CorruptExample(f"not a readable sound file: {error.error_string}") from error
        if len(samples) < frames:
            raise CorruptExample(f"cut short: {len(samples)} of {frames} samples could be decoded")
        if not len(samples):
            raise CorruptExample("no sound: the file holds 0 samples")
        return samples, rate


def missing_bytes(data: bytes) -> int:
    """How much a WAV file's `data` chunk promises beyond the end of the file; 0 for other formats.

    Files written to a pipe promise 0 or 2**32 - 1 bytes (or nearly so), which promises nothing.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return 0
    start = 12
    while start + 8 <= len(data):
        size = int.from_bytes(data[start + 4:start + 8], "little")
        if data[start:start + 4] == b"data":
            return 0 if size >= 0x7FFF_0000 else max(0, start + 8 + size - len(data))
        start += 8 + size + size % 2  # chunks begin at even bytes
    return 0
