"""Temporal alignment: a batch of any stream -> the points of one grid of time, inside a program.

    sound = align(Stream(16_000.0), Grid(), samples[..., None], points=300)
    words = align(Stream(5.0, "nearest", gap=1.0), Grid(), ids[..., None], 300, mask, times)
    both = jnp.concatenate([sound.values, embedded(words.values)], -1)

* What a stream and a grid are, and how one leads to the other: layers/time_grid.py.
  transforms/alignment.py does the same to an example of a pipeline.
* A steady stream's weights are constants of the program; with stamps they are made of them. Points
  are computed a few at a time, so that no [U, T] array is ever held.
* Stamps in float32 are good to 2 microseconds at half a minute.

Letters: B batch, T samples, C channels, U points of the grid.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.layers import time_grid
from mmjax.layers.time_grid import Grid, Stream
from mmjax.typing import Array, Bool, Float, Num, Shaped

AT_A_TIME = 16  # points


class Aligned(NamedTuple):
    """A stream on the grid."""

    values: Num[Array, "B U C"]  # zeros where the mask is False
    mask: Bool[Array, "B U"]  # False: there was nothing in the stream


def align(
    stream: Stream,
    grid: Grid,
    values: Num[Array, "B T C"],
    points: int,
    mask: Shaped[Array, "B T"] | None = None,
    times: Float[Array, "B T"] | None = None,
) -> Aligned:
    """Brings a stream to the grid.

    Args:
      points: U, from time 0 on.
      mask: which samples are there; padding stands behind them.
      times: of the samples in seconds, ascending in each row; None: sample i is at i / stream.rate.

    Returns:
      Integers of kind "nearest" as they are, everything else as floating-point numbers.
    """
    there = jnp.ones(values.shape[:2], bool) if mask is None else mask.astype(bool)
    if stream.kind != "nearest" and not jnp.issubdtype(values.dtype, jnp.floating):
        values = values.astype(jnp.float32)
    if not time_grid.weighs(stream, grid):
        rows = jax.vmap(lambda *row: _neighbours(stream, grid, points, *row))
    elif times is None:
        rows = jax.vmap(lambda *row: _steady(stream, grid, points, *row))
    else:
        rows = jax.vmap(lambda *row: _stamped(stream, grid, points, *row))
    found = rows(values, there) if times is None else rows(values, there, times)
    return Aligned(*found)


def _neighbours(stream, grid, points, values, mask, times=None):
    at = time_grid.points(grid, points)
    if times is None:  # where the points stand is known before the program runs
        times = np.arange(len(values)) / stream.rate
        found = _known(stream, times, mask, at)
    else:
        times = time_grid.without_padding(jnp, times, mask)
        found = time_grid.between(jnp, stream, times, mask, jnp.asarray(at, times.dtype))
    if stream.kind == "nearest":
        return jnp.where(found.there[:, None], values[found.left], 0), found.there
    share = jnp.asarray(found.share, values.dtype)[:, None]
    left = jnp.where(mask[:, None], values, 0)
    mixed = left[found.left] * (1 - share) + left[found.right] * share
    return jnp.where(found.there[:, None], mixed, 0), found.there


def _known(stream, times, mask, at) -> time_grid.Between:
    """`between` for known times, in float64: what depends on the mask is chosen in the program."""
    every = np.ones(len(times), bool)
    whole = time_grid.between(np, stream, times, every, at)
    nearest = Stream(stream.rate, "nearest", stream.gap)
    one = time_grid.between(np, nearest, times, every, at).left
    alone = np.abs(at - times[one]) <= (0.5 + 1e-4) / stream.rate
    both = mask[whole.left] & mask[whole.right] & whole.there
    there = both | (mask[one] & alone)
    left = jnp.where(both, whole.left, one)
    right = jnp.where(both, whole.right, one)
    return time_grid.Between(left, right, jnp.where(both, whole.share, 0.0), there)


def _steady(stream, grid, points, values, mask):
    taps = time_grid.taps(stream, grid, points)
    length = taps.weights.shape[1]
    kept = jnp.where(mask[:, None], values, 0)
    columns = jnp.concatenate([kept, mask[:, None].astype(values.dtype)], 1)  # [T, C + 1]
    end = max(0, int(taps.first.max(initial=0)) + length - len(values))
    columns = jnp.pad(columns, ((length, end), (0, 0)))
    # rows of both weights, so that the samples are read once
    both = jnp.asarray(np.stack([taps.weights, taps.area], 1), values.dtype)  # [P, 2, K]

    def point(first, phase):
        window = jax.lax.dynamic_slice_in_dim(columns, first, length)
        return both[phase] @ window  # [2, C + 1]

    starts = np.maximum(taps.first + length, 0)
    sums = _over(point, jnp.asarray(starts), jnp.asarray(taps.phase))
    return time_grid.total(jnp, sums[:, 0, :-1], sums[:, 0, -1], sums[:, 1, -1])


def _stamped(stream, grid, points, values, mask, times):
    times = time_grid.without_padding(jnp, times, mask)
    before, behind = time_grid.spans(jnp, stream, times)
    kept = jnp.where(mask[:, None], values, 0)
    columns = jnp.concatenate([kept, mask[:, None].astype(values.dtype)], 1)

    def point(at):
        found = time_grid.weights(jnp, stream, grid, times - at, before, behind)
        return jnp.stack(found).astype(values.dtype) @ columns

    at = jnp.asarray(time_grid.points(grid, points), times.dtype)
    sums = _over(point, at)
    return time_grid.total(jnp, sums[:, 0, :-1], sums[:, 0, -1], sums[:, 1, -1])


def _over(point, *columns):
    return jax.lax.map(lambda row: point(*row), columns, batch_size=AT_A_TIME)
