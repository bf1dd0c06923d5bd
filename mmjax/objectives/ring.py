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


class Tally(NamedTuple):
    """Of each row, what its negatives up to now come to."""

    value: Array  # as the rule has it; of softmax relative to `nearest` until all are counted
    nearest: Array  # the largest logit; -inf: there was no negative


class Rule(NamedTuple):
    """How a loss adds up over negatives. Logits of pairs that are no negatives are -inf."""

    # (value, largest logit before, largest with the new ones, new logits, their axis) -> value
    add: Callable[[Array, Array, Array, Array, int], Array]
    total: Callable[[Tally], Array]  # a row's value, all negatives counted
    slope: Callable[[Array, Array], Array]  # d value / d logit, from the logit and the value


def _finite(x: Array) -> Array:
    return jnp.where(x == -jnp.inf, 0.0, x)  # -inf - -inf is not a number


def _add_exp(value: Array, before: Array, nearest: Array, logits: Array, axis: int) -> Array:
    shift = _finite(nearest)
    new = jnp.exp(logits - jnp.expand_dims(shift, axis)).sum(axis)
    return value * jnp.exp(before - shift) + new


SOFTMAX = Rule(
    add=_add_exp,
    total=lambda tally: tally.nearest + jnp.log(tally.value),
    slope=lambda logits, value: jnp.exp(logits - _finite(value)),
)
SIGMOID = Rule(
    add=lambda value, before, nearest, logits, axis: value + jax.nn.softplus(logits).sum(axis),
    total=lambda tally: tally.value,
    slope=lambda logits, value: jax.nn.sigmoid(logits),
)


class Side(NamedTuple):
    """A device's rows of one modality, in tiles."""

    vectors: Float[Array, "*T R E"]
    real: Bool[Array, "*T R"]
    group: Int[Array, "*T R"]


def _negatives(
    rule: Rule,
    tile: int,
    a: Array,
    b: Array,
    bias: Array,
    weights: Array,
    groups: Array | None,
) -> tuple[Tally, Tally]:
    """Of every row of a its negatives in b, and of every row of b its negatives in a."""
    rows = len(weights)
    groups = jnp.arange(rows) if groups is None else groups
    short = -rows % _ring()[1]
    tallies = _tally(
        rule,
        tile,
        _longer(a, short),
        _longer(b, short),
        bias,
        _longer(weights > 0, short),
        _longer(groups, short),
    )
    return jax.tree.map(lambda x: x[:rows], tallies)


def _longer(x: Array, rows: int) -> Array:
    return jnp.pad(x, [(0, rows)] + [(0, 0)] * (x.ndim - 1)) if rows else x


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _tally(rule, tile, a, b, bias, real, groups):
    return _tally_forward(rule, tile, a, b, bias, real, groups)[0]


def _tally_forward(rule, tile, a, b, bias, real, groups):
    on_device = functools.partial(_tally_on_device, rule, tile)
    of_a, of_b = _on_every_device(on_device, bias)(a, b, real, groups)
    return (of_a, of_b), (a, b, bias, real, groups, of_a.value, of_b.value)


def _tally_backward(rule, tile, kept, slopes):
    slope_a_to_b, slope_b_to_a = slopes  # `nearest` has no gradient
    a, b, bias, *rest = kept
    on_device = functools.partial(_gradients_on_device, rule, tile)
    to_a, to_b, to_bias = _on_every_device(on_device, bias)(
        a, b, *rest, slope_a_to_b.value, slope_b_to_a.value
    )
    return to_a, to_b, to_bias.sum(), None, None


_tally.defvjp(_tally_forward, _tally_backward)


def _ring() -> tuple[tuple[str, ...], int]:
    """Axes of the mesh that is set, and their devices. Rows that lie on several devices, as those
    of a batch do along `tensor`, are divided among these as well."""
    mesh = jax.sharding.get_abstract_mesh()
    return tuple(name for name, size in mesh.shape.items() if size > 1), mesh.size or 1


def _on_every_device(function: Callable, bias: Array) -> Callable:
    axes, _ = _ring()
    if not axes:
        return lambda *arrays: function(bias, *arrays)
    rows = PartitionSpec(axes)
    whole = PartitionSpec()
    return lambda *arrays: jax.shard_map(
        function, in_specs=(whole, *[rows] * len(arrays)), out_specs=rows
    )(bias, *arrays)


def _tally_on_device(rule, tile, bias, a, b, real, group):
    """Forwards, on one device: (Tally of its rows of a, of b)."""
    (a, b, real, group), joined = _tiled(tile, a, b, real, group)

    def with_logits(tally, logits, axis):
        nearest = jnp.maximum(tally.nearest, logits.max(axis))
        return Tally(rule.add(tally.value, tally.nearest, nearest, logits, axis), nearest)

    def compare(row, row_tally, column, column_tally):
        logits = _logits(row, column, bias)
        return with_logits(row_tally, logits, 1), with_logits(column_tally, logits, 0)

    zeros = jnp.zeros_like(a[..., 0])
    start = Tally(zeros, zeros - jnp.inf)
    tallies = _round(compare, Side(a, real, group), start, Side(b, real, group), start)
    return tuple(joined(Tally(rule.total(tally), tally.nearest)) for tally in tallies)


def _gradients_on_device(
    rule, tile, bias, a, b, real, group, value_a_to_b, value_b_to_a, slope_a_to_b, slope_b_to_a
):
    """Backwards, on one device: gradients of its rows of a, of b, and of the bias by row.

    Args:
      value_a_to_b, value_b_to_a: of the tallies, as they came out forwards.
      slope_a_to_b, slope_b_to_a: gradients of those values.
    """
    (a, b, real, group, *of_rows), joined = _tiled(
        tile, a, b, real, group, value_a_to_b, value_b_to_a, slope_a_to_b, slope_b_to_a
    )
    value_a_to_b, value_b_to_a, slope_a_to_b, slope_b_to_a = of_rows

    def compare(row, to_row, column, to_column):
        row_side, row_value, row_slope = row
        column_side, column_value, column_slope = column
        logits = _logits(row_side, column_side, bias)
        slope = rule.slope(logits, row_value[:, None]) * row_slope[:, None]
        slope += rule.slope(logits, column_value[None]) * column_slope[None]
        more_to_row = jnp.einsum("RC,CE->RE", slope, column_side.vectors, precision=PRECISION)
        more_to_column = jnp.einsum("RC,RE->CE", slope, row_side.vectors, precision=PRECISION)
        to_row = (to_row[0] + more_to_row, to_row[1] + slope.sum(1))
        return to_row, to_column + more_to_column

    rows = (Side(a, real, group), value_a_to_b, slope_a_to_b)
    columns = (Side(b, real, group), value_b_to_a, slope_b_to_a)
    start = (jnp.zeros_like(a), jnp.zeros_like(value_a_to_b))
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
