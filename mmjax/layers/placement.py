"""Where activations lie on the mesh that is set; without one, nothing is said.

* Left alone, the partitioner may cut activations as the parameters are cut (`fsdp` along D) and sum
  products over devices, where gathering a layer's parameters is far less to send.
* Of activations only rows are pinned; the other axes are the partitioner's (heads and MLP width
  along `tensor`). A cache, which is carried from step to step, is pinned by rows and heads.
* An axis that does not divide among its devices is left to the partitioner: one prompt on a mesh of
  eight.

Letters: B batch, S slots, V vocabulary, D width, K heads of keys and values, H head size.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from mmjax.typing import Array, Float, Int, Shaped

BATCH_AXES = ("data", "fsdp")  # mesh axes that the rows of a batch lie over
TENSOR_AXIS = "tensor"  # mesh axis that heads, MLP width and vocabulary lie over
FREE = PartitionSpec.UNCONSTRAINED


def devices_along(*axes: str) -> int:
    """Over how many devices these axes of the mesh cut; 1 without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return math.prod(mesh.shape[axis] for axis in axes if axis in mesh.axis_names)


def on_one_cpu() -> bool:
    """Whether rows may be taken one by one: on several devices each holds rows of its own."""
    mesh = jax.sharding.get_abstract_mesh()
    return jax.default_backend() == "cpu" and (mesh.empty or mesh.size == 1)


def _batch_axes(rows: int) -> tuple[str, ...] | object:
    """What a dimension of so many rows is cut over."""
    names = jax.sharding.get_abstract_mesh().axis_names
    axes = tuple(name for name in BATCH_AXES if name in names)
    return axes if axes and rows % devices_along(*axes) == 0 else FREE


def rows_apart(x: Shaped[Array, "B ..."]) -> Shaped[Array, "B ..."]:
    """Keeps the rows of a batch on the devices that hold them."""
    rows = _batch_axes(len(x))
    if rows is FREE:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(rows, *(FREE,) * (x.ndim - 1)))


def cache_apart(x: Float[Array, "layers B S K H"]) -> Float[Array, "layers B S K H"]:
    """Keeps the rows of a cache on the devices of the batch, and its heads on those of `tensor`."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    heads = None
    if TENSOR_AXIS in mesh.axis_names and x.shape[3] % devices_along(TENSOR_AXIS) == 0:
        heads = TENSOR_AXIS
    spec = PartitionSpec(None, _batch_axes(x.shape[1]), None, heads, None)
    return jax.lax.with_sharding_constraint(x, spec)


def lookup(
    table: Float[Array, "V D"], ids: Int[Array, "B ..."], *, nan_outside: bool = False
) -> Float[Array, "B ... D"]:
    """Rows of a table of vectors, on the devices that hold the ids.

    The table is gathered along D first: else the result would be cut as the table is cut, and all
    of it moved twice.

    Args:
      nan_outside: an id that the table lacks gives NaN; else the nearest row, without a word.
    """
    if not jax.sharding.get_abstract_mesh().empty:
        table = jax.lax.with_sharding_constraint(table, PartitionSpec(FREE, None))
    if nan_outside:
        rows = table.at[ids].get(mode="fill", fill_value=jnp.nan)
    else:
        rows = table[ids]
    return rows_apart(rows)


def cut_vocabulary(kernel: Float[Array, "X Y"], axis: int) -> Float[Array, "X2 Y2"]:
    """A table or head with its vocabulary cut over the devices of `tensor`.

    A vocabulary that they do not divide (50,257 words) is stored whole; here it is filled up with
    zeros, so that each device computes a part of the logits. The caller drops the words behind V.
    """
    devices = devices_along(TENSOR_AXIS)
    missing = -kernel.shape[axis] % devices
    if missing == 0:
        return kernel  # cut as it is stored
    padding = [(0, 0), (0, 0)]
    padding[axis] = (0, missing)
    spec = [FREE, FREE]
    spec[axis] = TENSOR_AXIS
    return jax.lax.with_sharding_constraint(jnp.pad(kernel, padding), PartitionSpec(*spec))
