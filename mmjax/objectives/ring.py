"""The losses of `contrastive.py` for batches whose matrix of logits is too large to form.

* Exact: the same values and gradients, over all devices of the mesh that is set.
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

from mmjax.objectives.contrastive import PRECISION, Comparison, correct, scaled
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
    a: Float[Array, "B E"],
    b: Float[Array, "B E"],
    scale: Float[Array, ""],
    weights: Float[Array, " B"],
    groups: Int[Array, " B"] | None = None,
    *,
    tile: int = TILE,
) -> Comparison:
    """`contrastive.softmax`, without its matrix.

    Args:
      tile: rows and columns of a tile, at most.
    """
    a, b = scaled(a, b, scale)
    partner = jnp.einsum("BE,BE->B", a, b, precision=PRECISION)
    of_a, of_b = _negatives(SOFTMAX, tile, a, b, jnp.zeros(()), weights, groups)
    return Comparison(
        loss_a_to_b=jax.nn.softplus(of_a.value - partner),
        loss_b_to_a=jax.nn.softplus(of_b.value - partner),
        correct_a_to_b=correct(partner, of_a.nearest, scale),
        correct_b_to_a=correct(partner, of_b.nearest, scale),
    )


def sigmoid(
    a: Float[Array, "B E"],
    b: Float[Array, "B E"],
    scale: Float[Array, ""],
    bias: Float[Array, ""],
    weights: Float[Array, " B"],
    groups: Int[Array, " B"] | None = None,
    *,
    tile: int = TILE,
) -> Comparison:
    """`contrastive.sigmoid`, without its matrix.

    Args:
      tile: rows and columns of a tile, at most.
    """
    a, b = scaled(a, b, scale)
    partner = jnp.einsum("BE,BE->B", a, b, precision=PRECISION) + bias
    of_a, of_b = _negatives(SIGMOID, tile, a, b, bias, weights, groups)
    return Comparison(
        loss_a_to_b=jax.nn.softplus(-partner) + of_a.value,
        loss_b_to_a=jax.nn.softplus(-partner) + of_b.value,
        correct_a_to_b=correct(partner, of_a.nearest, scale),
        correct_b_to_a=correct(partner, of_b.nearest, scale),
    )


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


def _negatives(
    kind: Kind,
    tile: int,
    a: Array,
    b: Array,
    bias: Array,
    weights: Array,
    groups: Array | None,
) -> tuple[Seen, Seen]:
    """Of every row of a its negatives in b, and of every row of b its negatives in a."""
    rows = len(weights)
    groups = jnp.arange(rows) if groups is None else groups
    short = -rows % _ring()[1]
    out = _seen(
        kind,
        tile,
        _longer(a, short),
        _longer(b, short),
        bias,
        _longer(weights > 0, short),
        _longer(groups, short),
    )
    return jax.tree.map(lambda x: x[:rows], out)


def _longer(x: Array, rows: int) -> Array:
    return jnp.pad(x, [(0, rows)] + [(0, 0)] * (x.ndim - 1)) if rows else x


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _seen(kind, tile, a, b, bias, real, groups):
    return _seen_forward(kind, tile, a, b, bias, real, groups)[0]


def _seen_forward(kind, tile, a, b, bias, real, groups):
    look = _on_every_device(functools.partial(_look, kind, tile), bias)
    out = look(a, b, real, groups)
    return out, (a, b, bias, real, groups, out[0].value, out[1].value)


def _seen_columnward(kind, tile, kept, slopes):
    a, b, bias, real, groups, *values = kept
    a_to_b, b_to_a = slopes  # `nearest` has no gradient
    pull = _on_every_device(functools.partial(_pull, kind, tile), bias)
    to_a, to_b, to_bias = pull(
        a, b, real, groups, *values, a_to_b.value, b_to_a.value
    )
    return to_a, to_b, to_bias.sum(), None, None


_seen.defvjp(_seen_forward, _seen_columnward)


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


def _look(kind, tile, bias, a, b, real, group):
    """Forwards, on one device: (Seen of its rows of a, of b)."""
    (a, b, real, group), joined = _tiled(tile, a, b, real, group)

    def compare(row, seen_row, column, seen_column):
        logits = _logits(row, column, bias)

        def look(seen, axis):
            nearest = jnp.maximum(seen.nearest, logits.max(axis))
            return Seen(kind.add(seen.value, seen.nearest, nearest, logits, axis), nearest)

        return look(seen_row, 1), look(seen_column, 0)

    nothing = jnp.zeros_like(a[..., 0])
    start = Seen(nothing, nothing - jnp.inf)
    rows, columns = Side(a, real, group), Side(b, real, group)
    seen = _round(compare, rows, start, columns, start)
    return tuple(joined(Seen(kind.total(side), side.nearest)) for side in seen)


def _pull(kind, tile, bias, a, b, real, group, *more):
    """Backwards, on one device: gradients of its rows of a, of b, and of the bias by
    row."""
    arrays, joined = _tiled(tile, a, b, real, group, *more)
    a, b, real, group, a_to_b, b_to_a, slope_a_to_b, slope_b_to_a = arrays

    def compare(row, row_slope, column, column_slope):
        (row, a_to_b, slope_a_to_b), (column, b_to_a, slope_b_to_a) = row, column
        logits = _logits(row, column, bias)
        slope = kind.slope(logits, a_to_b[:, None]) * slope_a_to_b[:, None]
        slope += kind.slope(logits, b_to_a[None]) * slope_b_to_a[None]
        to_row = jnp.einsum("RC,CE->RE", slope, column.vectors, precision=PRECISION)
        to_column = jnp.einsum("RC,RE->CE", slope, row.vectors, precision=PRECISION)
        row_slope = (row_slope[0] + to_row, row_slope[1] + slope.sum(1))
        return row_slope, column_slope + to_column

    rows = Side(a, real, group), a_to_b, slope_a_to_b
    columns = Side(b, real, group), b_to_a, slope_b_to_a
    start = jnp.zeros_like(a), jnp.zeros_like(a_to_b)
    (to_a, to_bias), to_b = _round(compare, rows, start, columns, jnp.zeros_like(b))
    return joined((to_a, to_b, to_bias))


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
