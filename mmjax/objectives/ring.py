"""The losses of `contrastive.py` for batches whose matrix of logits is too large to form.

* Exact: the same values, gradients and `found`, over all devices of the mesh that is set.
* Every device keeps its rows of one side; the rows of the other go round the ring of all devices,
  as SigLIP's chunks do (https://arxiv.org/abs/2303.15343). Softmax needs no second trip for its
  second direction: each block takes the running log-sum-exp of its rows along.
* The block of logits between two devices is worked through in square tiles, as in Inf-CL
  (https://arxiv.org/abs/2410.17243): temporary memory is a few copies of a device's own embeddings,
  and a few tiles.
* Backwards nothing of the matrix has been kept: the blocks go round again, the tiles are computed
  again, and each block takes its gradient along.

Letters: B batch, E embedding size, T tiles of a device's rows, R rows of a tile, C columns of one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from mmjax.objectives.contrastive import PRECISION, Compared, found, scaled
from mmjax.typing import Array, Bool, Float, Int

TILE = 1024  # rows and columns of a tile, at most
# Logits on one device up to which the plain form is as good: its temporary memory, three to four
# times the matrix, is at most 64 MiB, and on a CPU neither form is faster (experiments/speed).
LIMIT = 2**22


def pays(rows: int) -> bool:
    """Whether so many rows are better compared in this form than plainly, on the mesh that is set
    (`jax.set_mesh`)."""
    return rows * rows > LIMIT * _ring()[1]


def softmax(
    first: Float[Array, "B E"],
    second: Float[Array, "B E"],
    scale: Float[Array, ""],
    weights: Float[Array, " B"],
    groups: Int[Array, " B"] | None = None,
    *,
    tile: int = TILE,
) -> Compared:
    """`contrastive.softmax`, without its matrix.

    Args:
      tile: rows and columns of a tile, at most.
    """
    first, second = scaled(first, second, scale)
    own = jnp.einsum("BE,BE->B", first, second, precision=PRECISION)
    there, back = _against(SOFTMAX, tile, first, second, jnp.zeros(()), weights, groups)
    losses = (jax.nn.softplus(side.value - own) for side in (there, back))
    return Compared(*losses, *(found(own, side.nearest, scale) for side in (there, back)))


def sigmoid(
    first: Float[Array, "B E"],
    second: Float[Array, "B E"],
    scale: Float[Array, ""],
    bias: Float[Array, ""],
    weights: Float[Array, " B"],
    groups: Int[Array, " B"] | None = None,
    *,
    tile: int = TILE,
) -> Compared:
    """`contrastive.sigmoid`, without its matrix.

    Args:
      tile: rows and columns of a tile, at most.
    """
    first, second = scaled(first, second, scale)
    own = jnp.einsum("BE,BE->B", first, second, precision=PRECISION) + bias
    there, back = _against(SIGMOID, tile, first, second, bias, weights, groups)
    losses = (jax.nn.softplus(-own) + side.value for side in (there, back))
    return Compared(*losses, *(found(own, side.nearest, scale) for side in (there, back)))


class Seen(NamedTuple):
    """Of each row, what its negatives up to now come to."""

    value: Array  # as the kind has it; of softmax relative to `nearest` until all are seen
    nearest: Array  # the largest logit; -inf: there was no negative


class Kind(NamedTuple):
    """How a loss adds up over negatives. Logits of pairs that are no negatives are -inf."""

    # (value, largest logit before, largest with the new ones, new logits, their axis) -> value
    add: Callable[[Array, Array, Array, Array, int], Array]
    total: Callable[[Seen], Array]  # a row's value, all negatives seen
    slope: Callable[[Array, Array], Array]  # d value / d logit, from the logit and the value


def _finite(x: Array) -> Array:
    return jnp.where(x == -jnp.inf, 0.0, x)  # -inf - -inf is not a number


def _add_exp(value: Array, before: Array, nearest: Array, logits: Array, axis: int) -> Array:
    shift = _finite(nearest)
    new = jnp.exp(logits - jnp.expand_dims(shift, axis)).sum(axis)
    return value * jnp.exp(before - shift) + new


SOFTMAX = Kind(
    add=_add_exp,
    total=lambda seen: seen.nearest + jnp.log(seen.value),
    slope=lambda logits, value: jnp.exp(logits - _finite(value)),
)
SIGMOID = Kind(
    add=lambda value, before, nearest, logits, axis: value + jax.nn.softplus(logits).sum(axis),
    total=lambda seen: seen.value,
    slope=lambda logits, value: jax.nn.sigmoid(logits),
)


class Side(NamedTuple):
    """A device's rows of one modality, in tiles."""

    vectors: Float[Array, "*T R E"]
    real: Bool[Array, "*T R"]
    group: Int[Array, "*T R"]


def _against(
    kind: Kind,
    tile: int,
    first: Array,
    second: Array,
    bias: Array,
    weights: Array,
    groups: Array | None,
) -> tuple[Seen, Seen]:
    """Of every row of first its negatives in second, and the other way round."""
    rows = len(weights)
    groups = jnp.arange(rows) if groups is None else groups
    short = -rows % _ring()[1]
    first, second = _longer(first, short), _longer(second, short)
    real, groups = _longer(weights > 0, short), _longer(groups, short)
    out = _seen(kind, tile, first, second, bias, real, groups)
    return jax.tree.map(lambda x: x[:rows], out)


def _longer(x: Array, rows: int) -> Array:
    return jnp.pad(x, [(0, rows)] + [(0, 0)] * (x.ndim - 1)) if rows else x


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _seen(kind, tile, first, second, bias, real, groups):
    return _seen_forward(kind, tile, first, second, bias, real, groups)[0]


def _seen_forward(kind, tile, first, second, bias, real, groups):
    look = _on_every_device(functools.partial(_look, kind, tile), bias)
    out = look(first, second, real, groups)
    return out, (first, second, bias, real, groups, out[0].value, out[1].value)


def _seen_backward(kind, tile, kept, slopes):
    first, second, bias, real, groups, *values = kept
    there, back = slopes  # `nearest` has no gradient
    pull = _on_every_device(functools.partial(_pull, kind, tile), bias)
    to_first, to_second, to_bias = pull(
        first, second, real, groups, *values, there.value, back.value
    )
    return to_first, to_second, to_bias.sum(), None, None


_seen.defvjp(_seen_forward, _seen_backward)


def _ring() -> tuple[tuple[str, ...], int]:
    """Axes of the mesh that is set, and their devices. Rows that lie on several devices, as those
    of a batch do along `tensor`, are divided among these as well."""
    mesh = jax.sharding.get_abstract_mesh()
    return tuple(name for name, size in mesh.shape.items() if size > 1), mesh.size or 1


def _on_every_device(function: Callable, bias: Array) -> Callable:
    axes, _ = _ring()
    if not axes:
        return lambda *arrays: function(bias, *arrays)
    rows, whole = PartitionSpec(axes), PartitionSpec()
    return lambda *arrays: jax.shard_map(
        function, in_specs=(whole, *[rows] * len(arrays)), out_specs=rows
    )(bias, *arrays)


def _look(kind, tile, bias, first, second, real, group):
    """Forwards, on one device: (Seen of its rows of first, of second)."""
    (first, second, real, group), joined = _tiled(tile, first, second, real, group)

    def compare(row, seen_there, column, seen_back):
        logits = _logits(row, column, bias)

        def look(seen, axis):
            nearest = jnp.maximum(seen.nearest, logits.max(axis))
            return Seen(kind.add(seen.value, seen.nearest, nearest, logits, axis), nearest)

        return look(seen_there, 1), look(seen_back, 0)

    nothing = jnp.zeros_like(first[..., 0])
    start = Seen(nothing, nothing - jnp.inf)
    rows, columns = Side(first, real, group), Side(second, real, group)
    seen = _round(compare, rows, start, columns, start)
    return tuple(joined(Seen(kind.total(side), side.nearest)) for side in seen)


def _pull(kind, tile, bias, first, second, real, group, *more):
    """Backwards, on one device: gradients of its rows of first, of second, and of the bias by
    row."""
    arrays, joined = _tiled(tile, first, second, real, group, *more)
    first, second, real, group, there, back, by_there, by_back = arrays

    def compare(row, row_slope, column, column_slope):
        (row, there, by_there), (column, back, by_back) = row, column
        logits = _logits(row, column, bias)
        slope = kind.slope(logits, there[:, None]) * by_there[:, None]
        slope += kind.slope(logits, back[None]) * by_back[None]
        to_row = jnp.einsum("RC,CE->RE", slope, column.vectors, precision=PRECISION)
        to_column = jnp.einsum("RC,RE->CE", slope, row.vectors, precision=PRECISION)
        row_slope = (row_slope[0] + to_row, row_slope[1] + slope.sum(1))
        return row_slope, column_slope + to_column

    rows = Side(first, real, group), there, by_there
    columns = Side(second, real, group), back, by_back
    start = jnp.zeros_like(first), jnp.zeros_like(there)
    (to_first, to_bias), to_second = _round(compare, rows, start, columns, jnp.zeros_like(second))
    return joined((to_first, to_second, to_bias))


def _tiled(tile: int, *arrays: Array) -> tuple[list[Array], Callable[[Any], Any]]:
    """[rows, ...] -> [T, R, ...] with as few empty rows as T tiles allow, and the way back."""
    rows = len(arrays[0])
    count = -(-rows // tile)
    short = -rows % count
    cut = [_longer(x, short).reshape(count, -1, *x.shape[1:]) for x in arrays]

    def joined(tiles: Any) -> Any:
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:rows], tiles)

    return cut, joined


def _logits(row: Side, column: Side, bias: Array) -> Float[Array, "R C"]:
    """Logits between negatives, -inf between others. Rows of padding are not real, and a row is of
    its partner's group."""
    logits = jnp.einsum("RE,CE->RC", row.vectors, column.vectors, precision=PRECISION) + bias
    negative = row.group[:, None] != column.group[None]
    return jnp.where(negative & row.real[:, None] & column.real[None], logits, -jnp.inf)


def _round(compare: Callable, rows: Any, of_rows: Any, columns: Any, of_columns: Any) -> tuple:
    """Compares every tile of `rows`, which stay, with every tile of `columns` of all devices.

    Args:
      compare: (row tile, its state, column tile, its state) -> the two states after.
      of_rows, of_columns: states at the start, [T, ...]; those of columns travel with them.

    Returns:
      The states after the last comparison, those of the columns back where they started.
    """

    def block(of_rows: Any, columns: Any, of_columns: Any) -> tuple[Any, Any]:
        def with_column(of_rows: Any, column: tuple) -> tuple[Any, Any]:
            def with_row(of_column: Any, row: tuple) -> tuple[Any, Any]:
                return compare(*row, column[0], of_column)[::-1]

            return jax.lax.scan(with_row, column[1], (rows, of_rows))[::-1]

        return jax.lax.scan(with_column, of_rows, (columns, of_columns))

    axes, devices = _ring()
    if not axes:
        return block(of_rows, columns, of_columns)
    onward = [(device, (device + 1) % devices) for device in range(devices)]

    def step(_: Any, carry: tuple) -> tuple:
        of_rows, columns, of_columns = carry
        of_rows, of_columns = block(of_rows, columns, of_columns)
        return of_rows, *jax.lax.ppermute((columns, of_columns), axes, onward)

    of_rows, _, of_columns = jax.lax.fori_loop(0, devices, step, (of_rows, columns, of_columns))
    return of_rows, of_columns
