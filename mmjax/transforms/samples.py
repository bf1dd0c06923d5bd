"""Samples as models of raw sound read them; recordings brought to a length, or cut into windows.

Letters: T samples, N windows, W samples of a window.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import numpy as np

from mmjax.data.source import Example
from mmjax.typing import Bool, Float, Int, Shaped


@dataclasses.dataclass(frozen=True)
class NormalizeAudio:
    """`audio`: float32 [T] -> zero mean and unit variance."""

    field: ClassVar[str] = "audio"
    deterministic: ClassVar[bool] = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        audio = example["audio"]
        return {**example, "audio": (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)}


@dataclasses.dataclass(frozen=True)
class RandomStretch:
    """Of a longer recording a stretch at random; a shorter one stays as it is."""

    longest: int  # samples that are kept, W
    field: str = "audio"  # that it works on, [T]

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        samples = example[self.field]
        room = len(samples) - self.longest
        if room <= 0:
            return example
        start = int(rng.integers(room + 1))
        return {**example, self.field: samples[start : start + self.longest]}


@dataclasses.dataclass(frozen=True)
class MiddleStretch:
    """Of a longer recording the middle; a shorter one stays as it is."""

    longest: int  # samples that are kept, W
    field: str = "audio"  # that it works on, [T]
    deterministic: ClassVar[bool] = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        samples = example[self.field]
        start = max(0, len(samples) - self.longest) // 2
        return {**example, self.field: samples[start : start + self.longest]}


@dataclasses.dataclass(frozen=True)
class Repeated:
    """A shorter recording as often as it fits whole: CLAP's, without the silence behind it."""

    length: int  # samples that it is brought near to
    field: str = "audio"  # that it works on, [T]
    deterministic: ClassVar[bool] = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        samples = example[self.field]
        times = max(1, self.length // max(1, len(samples)))
        return {**example, self.field: np.tile(samples, times)}


class Windows(NamedTuple):
    """A recording, or its frames, in parts of one length."""

    parts: Shaped[np.ndarray, "N W ..."]  # zeros behind the end
    mask: Bool[np.ndarray, "N W"]  # True: there is sound
    starts: Int[np.ndarray, " N"]  # of each part in the whole


def windows(sound: Shaped[np.ndarray, "T ..."], size: int, overlap: int = 0) -> Windows:
    """Parts of `size` samples (or frames), each beginning `size - overlap` behind the one before.

    The last part is the first that reaches the end. `joined` puts together what was made of them.

    Raises:
      ValueError: an overlap that leaves no step forward.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"an overlap of {overlap} in windows of {size}: from 0 to {size - 1}")
    step = size - overlap
    count = 1 + max(0, -(-(len(sound) - size) // step))
    starts = np.arange(count) * step
    room = starts[-1] + size - len(sound)
    padded = np.pad(sound, [(0, room)] + [(0, 0)] * (sound.ndim - 1))
    parts = np.stack([padded[start : start + size] for start in starts])
    places = starts[:, None] + np.arange(size)[None]
    return Windows(parts, places < len(sound), starts)


def joined(
    parts: Float[np.ndarray, "N W ..."], starts: Int[np.ndarray, " N"], length: int
) -> Float[np.ndarray, "T ..."]:
    """What was made of overlapping windows, as one: each place from the window in whose middle it
    lies nearest, so that no place is taken from the edge of a window but at the ends.

    Args:
      length: of the whole, in the parts' own units.
    """
    size = parts.shape[1]
    places = np.arange(length)
    middle = starts + (size - 1) / 2
    nearest = np.abs(places[:, None] - middle[None]).argmin(1)
    return parts[nearest, places - starts[nearest]]
