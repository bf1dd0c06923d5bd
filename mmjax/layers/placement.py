"""Where activations lie on the mesh that is set; without one, nothing is said.

* Left alone, the partitioner may cut activations as the parameters are cut (`fsdp` along D) and sum
  products over devices, where gathering a layer's parameters is far less to send.
* Only rows are pinned; the other axes are the partitioner's (heads and MLP width along `tensor`).

Letters: B batch, V vocabulary, D width.
"""

from __future__ import annotations

import jax
from jax.sharding import PartitionSpec

from mmjax.typing import Array, Float, Int

BATCH_AXES = ("data", "fsdp")  # mesh axes that the rows of a batch lie over
FREE = PartitionSpec.UNCONSTRAINED


def rows_apart(x: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    """Keeps the rows of a batch on the devices that hold them."""
    mesh = jax.sharding.get_abstract_mesh()
    axes = tuple(name for name in BATCH_AXES if name in mesh.axis_names)
    if not axes:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(axes, *(FREE,) * (x.ndim - 1)))


def lookup(table: Float[Array, "V D"], ids: Int[Array, "B ..."]) -> Float[Array, "B ... D"]:
    """Rows of an embedding table, on the devices that hold the ids.

    The table is gathered along D first: else the result would be cut as the table is cut, and all
    of it moved twice.
    """
    if jax.sharding.get_abstract_mesh().axis_names:
        table = jax.lax.with_sharding_constraint(table, PartitionSpec(FREE, None))
    return rows_apart(table[ids])
