"""Where sound comes from: files and pipes, chunk by chunk, at 16 kHz and of one channel.

* A file is decoded and resampled as it is read, so that its length costs no memory: WAV, FLAC, OGG,
  MP3.
* A pipe holds a WAV (its header says what it is; its length may be unknown) or bare samples, 16
  bits little-endian, whose rate and channels are told.
* `paced` plays what does not wait at its own pace. A microphone: microphone.py.

Letters: T samples, C channels, U samples at 16 kHz.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from mmjax.errors import UserError
from mmjax.streaming.activity import RATE
from mmjax.streaming.blocks import Chunk
from mmjax.typing import Float

CHUNK = 0.1  # seconds that are read at a time


class SourceError(UserError, ValueError):
    """A source that cannot be heard."""


class Resampler:
    """[T, C] at any rate -> one channel at 16 kHz, chunk by chunk (soxr, high quality)."""

    def __init__(self, rate: int) -> None:
        same = rate == RATE
        self._stream = None if same else soxr.ResampleStream(rate, RATE, 1, dtype="float32")

    def __call__(
        self, samples: Float[np.ndarray, "T C"], last: bool = False
    ) -> Float[np.ndarray, " U"]:
        """What is ready; the last call gives the rest."""
        mono = samples.mean(1, dtype=np.float32)
        return mono if self._stream is None else self._stream.resample_chunk(mono, last)


def file(path: str | Path) -> Iterator[Chunk]:
    """A sound file from its beginning to its end.

    Raises:
      SourceError: none, or not a sound.
    """
    try:
        with soundfile.SoundFile(path) as sound:
            resampler = Resampler(sound.samplerate)
            size = round(CHUNK * sound.samplerate)
            while len(samples := sound.read(size, dtype="float32", always_2d=True)):
                yield Chunk(resampler(samples))
            yield Chunk(resampler(np.zeros((0, 1), np.float32), last=True))
    except soundfile.LibsndfileError as error:
        raise SourceError(f"{path} is not a readable sound file: {error.error_string}") from error


def paced(
    chunks: Iterable[Chunk],
    speed: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Chunk]:
    """Gives each chunk when its last sample would have been heard.

    Args:
      speed: 2: twice as fast.
    """
    begun = clock()
    heard = 0.0
    for chunk in chunks:
        heard += len(chunk.samples) / RATE / speed
        sleep(max(0.0, begun + heard - clock()))
        yield chunk


class Format(NamedTuple):
    """Samples of a pipe."""

    rate: int = RATE
    channels: int = 1
    kind: str = "<i2"  # of a sample, as numpy writes it; "<i3": 24 bits

    @property
    def width(self) -> int:
        """Bytes of the samples of one moment."""
        return int(self.kind[2:]) * self.channels


def pipe(stream: io.BufferedIOBase, bare: Format | None = None) -> Iterator[Chunk]:
    """A pipe from its beginning to its end, as what it holds arrives.

    Args:
      bare: of samples without a header; a WAV says itself what it holds.

    Raises:
      SourceError: a WAV of a kind that is not read here.
    """
    head = _exactly(stream, 4)
    wave = head == b"RIFF"
    form = _wave_format(stream) if wave else bare or Format()
    resampler = Resampler(form.rate)
    data = b"" if wave else head
    size = max(form.width, round(CHUNK * form.rate) * form.width)
    read = getattr(stream, "read1", stream.read)
    while more := read(size):
        data += more
        whole = len(data) // form.width * form.width
        yield Chunk(resampler(_samples(data[:whole], form)))
        data = data[whole:]
    yield Chunk(resampler(np.zeros((0, 1), np.float32), last=True))


def _samples(data: bytes, form: Format) -> Float[np.ndarray, "T C"]:
    if form.kind == "<i3":
        parts = np.frombuffer(data, np.uint8).reshape(-1, 3)
        padded = np.concatenate([np.zeros((len(parts), 1), np.uint8), parts], axis=1)
        values = np.ascontiguousarray(padded).view("<i4")[:, 0]
        scaled = values.astype(np.float32) / 2**31
    else:
        values = np.frombuffer(data, form.kind)
        scaled = values.astype(np.float32)
        if form.kind[1] == "i":
            scaled /= 2 ** (8 * values.itemsize - 1)
        if form.kind[1] == "u":  # 8 bits are unsigned in a WAV
            scaled = (scaled - 128) / 128
    return scaled.reshape(-1, form.channels)


def _wave_format(stream: io.BufferedIOBase) -> Format:
    """Reads a WAV up to its samples."""
    rest = _exactly(stream, 8)
    if rest[4:] != b"WAVE":
        raise SourceError("the pipe begins as RIFF but is no WAV")
    form = None
    while len(head := _exactly(stream, 8)) == 8:
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"data":
            if form is None:
                break
            return form
        body = _exactly(stream, size + size % 2)
        if head[:4] == b"fmt ":
            form = _format(body)
    raise SourceError("the WAV ends before its samples")


def _format(body: bytes) -> Format:
    fields = [int.from_bytes(body[start : start + 2], "little") for start in range(0, 26, 2)]
    tag, channels, bits = fields[0], fields[1], fields[7]
    rate = int.from_bytes(body[4:8], "little")
    if tag == 0xFFFE:  # extensible: the tag stands farther behind
        tag = fields[12]
    kinds = {(1, 8): "|u1", (1, 16): "<i2", (1, 24): "<i3", (1, 32): "<i4", (3, 32): "<f4",
             (3, 64): "<f8"}  # fmt: skip
    if (tag, bits) not in kinds or not channels or not rate:
        raise SourceError(
            f"a WAV of format {tag} with {bits} bits is not read from a pipe; PCM of 8 to 32 bits "
            "and floating point are: give it as a file"
        )
    return Format(rate, channels, kinds[tag, bits])


def _exactly(stream: io.BufferedIOBase, size: int) -> bytes:
    """So many bytes, or fewer at the end of the pipe."""
    data = b""
    while len(data) < size and (more := stream.read(size - len(data))):
        data += more
    return data
