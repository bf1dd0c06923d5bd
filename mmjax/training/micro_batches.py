"""Splitting a batch into micro-batches, and putting what was made of them together again.

* Micro-batch i of n holds rows i, i + n, i + 2n, ... so that shards stay where they are.
* Packed examples share rows: a pack is never split. How many examples it has is the data plan's
  affair (`BatchPlan.pack`), and is handed in.
* A batch of named sub-batches is split sub-batch by sub-batch.

Letters: B rows of the batch (examples), U units (packs, or rows where nothing is packed).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from mmjax.config import ConfigError
from mmjax.tasks.base import Batch, is_nested
from mmjax.typing import Array

# examples of a pack, 0 where nothing is packed; by sub-batch where there are some
Packs = int | Mapping[str, Any]


def units(batch: Batch, pack: int) -> int:
    """U: how many parts of a batch of rows are never split."""
    return batch["weight"].shape[0] // max(pack, 1)


def fold(values: Any, batch: Batch, count: int, pack: Packs = 0) -> Any:
    """[B, ...] -> [count, B / count, ...] for every array.

    Args:
      values: `batch` itself, or arrays that belong to its rows or packs.

    Raises:
      ConfigError: the batch does not divide into so many micro-batches.
      ValueError: an array without a place for every row or pack.
    """
    if is_nested(batch):
        return {
            name: fold(part, batch[name], count, _pack_of(pack, name))
            for name, part in values.items()
        }
    number = units(batch, pack)
    if number % count:
        kind = "packs" if pack else "rows"
        raise ConfigError(
            f"a batch of {number} {kind} does not divide into {count} micro-batches: change "
            "data.batch_size or optimizer.accumulate"
        )

    def folded(x: Array) -> Array:
        if x.ndim == 0 or x.shape[0] % number:
            raise ValueError(
                f"an array of shape {x.shape} cannot be split with a batch of {number} rows or "
                "packs: its first axis is no multiple of them"
            )
        x = x.reshape(number // count, count, x.shape[0] // number, *x.shape[1:])
        return x.swapaxes(0, 1).reshape(count, -1, *x.shape[3:])

    return jax.tree.map(folded, values)


def unfold(values: Any, batch: Batch, pack: Packs = 0) -> Any:
    """The inverse of `fold`; `batch` is the whole one."""
    if is_nested(batch):
        return {
            name: unfold(part, batch[name], _pack_of(pack, name)) for name, part in values.items()
        }
    number = units(batch, pack)

    def unfolded(x: Array) -> Array:
        count = x.shape[0]
        x = x.reshape(count, number // count, -1, *x.shape[2:])
        return x.swapaxes(0, 1).reshape(-1, *x.shape[3:])

    return jax.tree.map(unfolded, values)


def merged(values: Any, more: Any, batch: Batch) -> Any:
    """Two dicts of arrays that belong to the rows of a batch, as one.

    Raises:
      ValueError: a name that both have.
    """
    if is_nested(batch):
        names = [name for name in batch if name in values or name in more]
        return {
            name: merged(values.get(name, {}), more.get(name, {}), batch[name]) for name in names
        }
    twice = sorted(set(values) & set(more))
    if twice:
        raise ValueError(f"`encode` and `select` both return {twice[0]!r}: rename one of them")
    return {**values, **more}


def _pack_of(pack: Packs, name: str) -> Packs:
    return pack.get(name, 0) if isinstance(pack, Mapping) else pack
