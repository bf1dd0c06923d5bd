"""The sound of what soundfile does not open: AAC, M4A, the sound track of a video; by PyAV.

https://github.com/PyAV-Org/PyAV, a binding of FFmpeg, which is inside its wheel.

T samples.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from mmjax.data.source import CorruptExample
from mmjax.typing import Float

SHORTER = 0.5  # seconds that a track may lack of what its file promises, padding of codecs


class Track(NamedTuple):
    """A sound track, decoded."""

    samples: Float[np.ndarray, " T"]  # mean of the channels
    rate: int  # samples per second


def read(data: bytes, longest: float) -> Track:
    """The first sound track of a file.

    Args:
      longest: seconds that are accepted.

    Raises:
      CorruptExample: no file that can be read, no sound in it, too much of it, or less than it
        promises.
    """
    try:
        with av.open(io.BytesIO(data)) as file:
            if not file.streams.audio:
                raise CorruptExample("the file has no sound track")
            return _decoded(file, file.streams.audio[0], longest)
    except (av.error.FFmpegError, ValueError) as error:
        raise CorruptExample(f"not a readable sound file: {error}") from error


def _decoded(file: Any, stream: Any, longest: float) -> Track:
    rate = stream.rate
    promised = float(stream.duration * stream.time_base) if stream.duration else 0.0
    _check(promised, longest)
    parts = []
    count = 0
    for samples in _parts(file, stream):
        parts.append(samples)
        count += len(samples)
        _check(count / rate, longest)
    if not count:
        raise CorruptExample("no sound: the file's sound track holds 0 samples")
    if count / rate < promised - SHORTER:
        raise CorruptExample(
            f"cut short: {count / rate:.1f} of {promised:.1f} seconds could be decoded"
        )
    return Track(np.concatenate(parts), rate)


def _parts(file: Any, stream: Any) -> Iterator[np.ndarray]:
    """Frame after frame, float32, channels averaged."""
    planes = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    for frame in file.decode(stream):
        for one in planes.resample(frame):
            yield one.to_ndarray().mean(0, dtype=np.float32)
    for one in planes.resample(None):
        yield one.to_ndarray().mean(0, dtype=np.float32)


def _check(seconds: float, longest: float) -> None:
    if seconds > longest:
        raise CorruptExample(
            f"more than {seconds:.0f} seconds of sound; at most {longest:g} are accepted "
            "(DecodeAudio.longest)"
        )


def seconds_of(path: str | Path) -> float | None:
    """The length of a file as its header states it; None where it does not."""
    try:
        with av.open(str(path)) as file:
            return None if file.duration is None else file.duration / av.time_base
    except (av.error.FFmpegError, ValueError, OSError):
        return None
