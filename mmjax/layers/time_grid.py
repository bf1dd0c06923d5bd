"""Where streams of any pace meet: one grid of time, and the weights that lead to it.

* A stream is samples at points of time, at a steady rate or with stamps. A point of the grid speaks
  for its cell, the time that is nearer to it than to its neighbours; a sample for half of the way
  to its neighbours, or for half a period where the next one is farther than `gap`.
* What is faster than the grid is filtered first: a sinc in a Kaiser window (Kaiser 1974; Smith,
  https://ccrma.stanford.edu/~jos/resample/), pass band, transition and stop band below the grid's
  Nyquist frequency. Its weights are divided by their sum, so that a constant stays one at edges.
* A point is there when half of its cell is. What is missing stays missing: it is never a zero.
* Every function takes numpy's arrays or JAX's and uses their own namespace: the transform
  (transforms/alignment.py) and the layer (layers/alignment.py) are one formula.

Letters: T samples, U points of the grid, K samples that a point is made of.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np

from mmjax.typing import Bool, Float, Int, Positive, Shaped

LEAST_CELL = 0.5 - 1e-4  # of a cell that has to be there
LEAST_WEIGHT = 0.25  # of the filter's weight that has to fall on samples that are there
BEHIND = 1e9  # seconds: where samples stand that are padding


@dataclasses.dataclass(frozen=True)
class Grid:
    """The points of time 0, 1 / rate, 2 / rate, ..."""

    rate: float = 10.0  # points per second
    half_width: Positive = 16  # periods of the grid that the filter reaches to either side
    attenuation: float = 60.0  # dB by which the filter weakens what is above rate / 2

    @property
    def passband(self) -> float:
        """Hz up to which the filter changes nothing: Kaiser's formula for the transition."""
        seconds = 2 * self.half_width / self.rate
        return self.rate / 2 - (self.attenuation - 8) / (2.285 * 2 * math.pi * seconds)

    @property
    def beta(self) -> float:
        """Kaiser's parameter of the window for this attenuation."""
        if self.attenuation > 50:
            return 0.1102 * (self.attenuation - 8.7)
        above = max(self.attenuation - 21, 0.0)
        return 0.5842 * above**0.4 + 0.07886 * above

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.passband <= 0:
            raise ValueError(
                f"a grid of {self.rate:g} Hz with {self.attenuation:g} dB in half_width="
                f"{self.half_width} lets nothing pass: a longer filter does, or fewer dB"
            )


@dataclasses.dataclass(frozen=True)
class Stream:
    """What is known of a stream before it comes."""

    rate: float  # samples per second; of a stream with stamps the usual one
    # linear: numbers that change smoothly (sound, pixels, features), filtered where they are faster
    # than the grid; area: the mean over a cell (counts, shares); nearest: tokens, classes
    kind: Literal["linear", "nearest", "area"] = "linear"
    # seconds between neighbours above which samples are missing; None: 1.5 / rate
    gap: float | None = None

    @property
    def longest_gap(self) -> float:
        """Seconds between neighbours that still belong together."""
        # stamps in float32 are rounded
        return (1.5 / self.rate if self.gap is None else self.gap) * (1 + 1e-4)

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.longest_gap <= 0:
            raise ValueError(f"a stream's rate and gap are above 0, not {self.rate:g}, {self.gap}")


class Taps(NamedTuple):
    """How the points of a grid are made of a stream at a steady rate; the same for all batches."""

    first: Int[np.ndarray, " U"]  # the first sample of each point; it may lie before the stream
    phase: Int[np.ndarray, " U"]  # its row of the weights
    weights: Float[np.ndarray, "P K"]
    area: Float[np.ndarray, "P K"]  # shares of the cell


class Between(NamedTuple):
    """Where points stand among samples."""

    left: Shaped[Any, " U"]
    right: Shaped[Any, " U"]
    share: Shaped[Any, " U"]  # of the right one: 0 at the left one, 1 at the right one
    there: Shaped[Any, " U"]  # False: the point is missing


def ends_at(grid: Grid, seconds: float) -> int:
    """Points of the grid before a time, such as the end of the last sample."""
    return max(0, math.ceil(seconds * grid.rate - 1e-9))


def points(grid: Grid, number: int) -> Float[np.ndarray, " U"]:
    """Their times in seconds, float64."""
    return np.arange(number) / grid.rate


def weighs(stream: Stream, grid: Grid) -> bool:
    """Whether points are weighted sums of many samples, and not of two neighbours."""
    return stream.kind == "area" or (stream.kind == "linear" and stream.rate > grid.rate)


def kernel(xp: ModuleType, grid: Grid, seconds: Float[Any, "..."]) -> Float[Any, "..."]:
    """The low-pass at some distances; it integrates to 1 over time."""
    cut = (grid.passband + grid.rate / 2) / 2
    place = seconds * (grid.rate / grid.half_width)  # -1 to 1 over the window
    inside = 1 - place * place
    window = xp.i0(grid.beta * xp.sqrt(xp.maximum(inside, 0.0))) / float(np.i0(grid.beta))
    return xp.where(inside > 0, 2 * cut * xp.sinc(2 * cut * seconds) * window, 0.0)


def spans(
    xp: ModuleType, stream: Stream, times: Float[Any, " T"]
) -> tuple[Float[Any, " T"], Float[Any, " T"]]:
    """Seconds before and behind each sample for which it speaks."""
    steps = times[1:] - times[:-1]
    halves = xp.where(steps <= stream.longest_gap, steps, 1 / stream.rate) / 2
    end = xp.full((1,), 0.5 / stream.rate, halves.dtype)
    return xp.concatenate([end, halves]), xp.concatenate([halves, end])


def weights(
    xp: ModuleType,
    stream: Stream,
    grid: Grid,
    offsets: Float[Any, "*U T"],
    before: Float[Any, "*T"],
    behind: Float[Any, "*T"],
) -> tuple[Float[Any, "*U T"], Float[Any, "*U T"]]:
    """Weight of each sample for a point, and its share of the point's cell.

    Args:
      offsets: seconds from the point to the sample.
      before, behind: as of `spans`.
    """
    half = 0.5 / grid.rate
    overlap = xp.minimum(offsets + behind, half) - xp.maximum(offsets - before, -half)
    area = xp.maximum(overlap, 0.0) * grid.rate
    if stream.kind == "area":
        return area, area
    return kernel(xp, grid, offsets) * (before + behind), area


@functools.lru_cache(maxsize=32)
def taps(stream: Stream, grid: Grid, number: int) -> Taps:
    """Of a stream at a steady rate. Phases that come again are kept once."""
    reach = 0.5 / grid.rate + 0.5 / stream.rate
    if stream.kind == "linear":
        reach = max(reach, grid.half_width / grid.rate)
    places = points(grid, number) * stream.rate  # in samples
    first = np.ceil(np.round(places - reach * stream.rate, 6)).astype(np.int64)
    starts, phase = np.unique(np.round(first - places, 6), return_inverse=True)
    length = math.floor(2 * reach * stream.rate + 1e-6) + 1
    offsets = (starts[:, None] + np.arange(length)) / stream.rate
    half = np.full(length, 0.5 / stream.rate)
    found = weights(np, stream, grid, offsets, half[None], half[None])
    return Taps(first, phase, *found)


def total(
    xp: ModuleType, sums: Float[Any, "U C"], weight: Float[Any, " U"], cell: Float[Any, " U"]
) -> tuple[Float[Any, "U C"], Bool[Any, " U"]]:
    """Weighted sums over what is there -> the points' values, and which of them are there.

    Args:
      weight, cell: the sums of the weights and of the shares of the cell.
    """
    there = (cell >= LEAST_CELL) & (weight >= LEAST_WEIGHT)
    safe = xp.where(there, weight, 1.0)
    return xp.where(there[:, None], sums / safe[:, None], 0.0), there


def without_padding(
    xp: ModuleType, times: Float[Any, " T"], mask: Bool[Any, " T"]
) -> Float[Any, " T"]:
    """Stamps in which those behind the last sample are far away, so that order is kept."""
    index = xp.arange(len(times))
    last = xp.max(xp.where(mask, index, -1))
    return xp.where(index <= last, times, BEHIND)


def between(
    xp: ModuleType,
    stream: Stream,
    times: Float[Any, " T"],
    mask: Bool[Any, " T"],
    at: Float[Any, " U"],
) -> Between:
    """The two samples around each point.

    A point is there where both are, and no gap is between them; or in the half period around one.
    """
    place = xp.searchsorted(times, at)
    right = xp.clip(place, 0, len(times) - 1)
    left = xp.clip(place - 1, 0, len(times) - 1)
    step = times[right] - times[left]
    share = xp.where(step > 0, (at - times[left]) / xp.where(step > 0, step, 1.0), 0.0)
    inside = (share >= 0) & (share <= 1) & (place < len(times)) & (place > 0)
    whole = inside & mask[left] & mask[right] & (step <= stream.longest_gap)
    nearer = xp.where((at - times[left]) > (times[right] - at), right, left)
    alone = mask[nearer] & (xp.abs(at - times[nearer]) <= (0.5 + 1e-4) / stream.rate)
    if stream.kind == "nearest":
        return Between(nearer, nearer, share * 0, whole | alone)
    left = xp.where(whole, left, nearer)
    right = xp.where(whole, right, nearer)
    return Between(left, right, xp.where(whole, share, 0.0), whole | alone)
