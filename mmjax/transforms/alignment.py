"""Temporal alignment of an example: named streams -> one grid of time, in numpy.

    AlignStreams({
        "audio": Stream(16_000.0),
        "video": Stream(30.0),
        "words": Stream(5.0, "nearest", gap=1.0),
        "pulse": Stream(50.0, gap=0.1),
    })

* Reads `audio` [T] or [T, ...], and where they are there `audio_times` [T] (seconds, ascending) and
  `audio_mask` [T]; writes `audio` [U, ...] and `audio_mask` [U]. All streams get the same U.
* The formula is that of layers/time_grid.py, computed in float64; layers/alignment.py is its form
  inside a program.

Letters: T samples, U points of the grid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mmjax.data.source import CorruptExample, Example
from mmjax.layers import time_grid
from mmjax.layers.time_grid import Grid, Stream
from mmjax.typing import Bool, Float, Shaped


class Aligned(NamedTuple):
    """A stream on the grid."""

    values: Shaped[np.ndarray, "U ..."]  # zeros where the mask is False
    mask: Bool[np.ndarray, " U"]


@dataclasses.dataclass(frozen=True)
class AlignStreams:
    """Streams of an example -> arrays of one length with masks."""

    streams: Mapping[str, Stream]  # field -> what it is
    grid: Grid = Grid()
    seconds: float | None = None  # of the grid; None: to the end of the longest stream
    deterministic = True

    def __call__(self, example: Example, rng: np.random.Generator | None = None) -> Example:
        """Raises CorruptExample for stamps that go back, and lengths that do not agree."""
        read = {name: self._read(example, name) for name in self.streams}
        if self.seconds is None:
            number = max(self._count(name, *read[name]) for name in read)
        else:
            number = time_grid.ends_at(self.grid, self.seconds)
        out = {key: value for key, value in example.items() if not self._stamps(key)}
        for name, stream in self.streams.items():
            out[name], out[f"{name}_mask"] = align(stream, self.grid, *read[name], number)
        return out

    def _stamps(self, key: str) -> bool:
        return key.removesuffix("_times") in self.streams and key.endswith("_times")

    def _read(
        self, example: Example, name: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        values = np.asarray(example[name])
        mask = np.asarray(example.get(f"{name}_mask", np.ones(len(values), bool))).astype(bool)
        times = example.get(f"{name}_times")
        if mask.shape != values.shape[:1]:
            raise CorruptExample(f"{name}: {len(values)} samples and a mask of {mask.shape}")
        if times is None:
            return values, mask, None
        times = np.asarray(times, np.float64)
        if times.shape != values.shape[:1]:
            raise CorruptExample(f"{name}: {len(values)} samples and stamps of {times.shape}")
        held = times[: np.flatnonzero(mask)[-1] + 1] if mask.any() else times[:0]
        bad = np.flatnonzero(~np.isfinite(held))
        if len(bad):
            raise CorruptExample(f"{name}: the stamp of sample {bad[0]} is {held[bad[0]]}")
        back = np.flatnonzero(np.diff(held) < 0)
        if len(back):
            at = back[0]
            raise CorruptExample(
                f"{name}: time goes back at sample {at + 1}, from {held[at]:g} to "
                f"{held[at + 1]:g} seconds; stamps ascend"
            )
        return values, mask, times

    def _count(self, name: str, values: np.ndarray, mask: np.ndarray, times) -> int:
        stream = self.streams[name]
        if times is None:
            return time_grid.ends_at(self.grid, len(values) / stream.rate)
        if not mask.any():
            return 0
        return time_grid.ends_at(self.grid, times[np.flatnonzero(mask)[-1]] + 1 / stream.rate)


def align(
    stream: Stream,
    grid: Grid,
    values: Shaped[np.ndarray, "T ..."],
    mask: Bool[np.ndarray, " T"],
    times: Float[np.ndarray, " T"] | None,
    points: int,
) -> Aligned:
    """One stream; arguments as of layers/alignment.py, without a batch."""
    shape = (points, *values.shape[1:])
    whole = stream.kind == "nearest"
    dtype = values.dtype if whole or values.dtype.kind == "f" else np.dtype(np.float32)
    if not len(values) or not points:
        return Aligned(np.zeros(shape, dtype), np.zeros(points, bool))
    columns = values.reshape(len(values), -1)
    if time_grid.weighs(stream, grid):
        if times is None:
            sums = _steady(stream, grid, columns, mask, points)
        else:
            sums = _stamped(stream, grid, columns, mask, times, points)
        found, there = time_grid.total(np, sums[:, 0, :-1], sums[:, 0, -1], sums[:, 1, -1])
        return Aligned(found.astype(dtype).reshape(shape), there)
    times = np.arange(len(values)) / stream.rate if times is None else times
    times = time_grid.without_padding(np, times, mask)
    at = time_grid.between(np, stream, times, mask, time_grid.points(grid, points))
    there = at.there[:, None]
    if whole:
        return Aligned(np.where(there, columns[at.left], 0).astype(dtype).reshape(shape), at.there)
    kept = np.where(mask[:, None], columns, 0)
    share = at.share[:, None]
    mixed = kept[at.left] * (1 - share) + kept[at.right] * share
    return Aligned(np.where(there, mixed, 0).astype(dtype).reshape(shape), at.there)


def _steady(stream, grid, columns, mask, points) -> Float[np.ndarray, "U 2 C"]:
    """Sums by weight and by share of the cell; the last column counts what is there."""
    taps = time_grid.taps(stream, grid, points)
    both = np.stack([taps.weights, taps.area], 1)
    length = both.shape[2]
    out = np.zeros((points, 2, columns.shape[1] + 1))
    for number, (first, phase) in enumerate(zip(taps.first, taps.phase, strict=True)):
        start = max(first, 0)
        end = min(first + length, len(columns))
        if start < end:
            reached = both[phase][:, start - first : end - first]
            out[number] = _sums(reached, columns, mask, start, end)
    return out


def _stamped(stream, grid, columns, mask, times, points) -> Float[np.ndarray, "U 2 C"]:
    times = time_grid.without_padding(np, times, mask)
    before, behind = time_grid.spans(np, stream, times)
    out = np.zeros((points, 2, columns.shape[1] + 1))
    for number, at in enumerate(time_grid.points(grid, points)):
        found = np.stack(time_grid.weights(np, stream, grid, times - at, before, behind))
        out[number] = _sums(found, columns, mask, 0, len(columns))
    return out


def _sums(weights, columns, mask, start, end) -> Float[np.ndarray, "2 C"]:
    there = mask[start:end]
    kept = np.where(there[:, None], columns[start:end], 0)
    return np.concatenate([weights @ kept, weights @ there[:, None]], 1)
