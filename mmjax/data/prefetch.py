"""Host batches -> global arrays on the devices, a few batches ahead of the step.

* The transfer of the next batch runs while the step works on this one.
* With several processes each puts its own rows; the array is global.
* An error of the pipeline comes up at the step that it belongs to, not while reading ahead.
* A batch may be a dict of named sub-batches.
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax

from mmjax.data.pipeline import Batch

Placement = jax.sharding.Sharding | Callable[[str], jax.sharding.Sharding]


def to_device(batches: Iterable[Batch], sharding: Placement, ahead: int = 2) -> Iterator[Batch]:
    """The same batches with jax arrays; the leading axis is the global batch.

    sharding: of every field, or a function of the field's name ("pairs/image" in a sub-batch). A
    process's rows are those of its devices, in order (host = jax.process_index(), hosts =
    jax.process_count()).
    """
    waiting: collections.deque[Batch] = collections.deque()
    source = iter(batches)
    fault = None
    while True:
        while fault is None and len(waiting) <= ahead:
            try:
                waiting.append(put(next(source), sharding))
            except Exception as error:  # StopIteration, too
                fault = error
        if waiting:
            yield waiting.popleft()
        elif isinstance(fault, StopIteration):
            return
        else:
            raise fault


def put(batch: Batch, sharding: Placement) -> Batch:
    """One batch of this process's rows, as global arrays."""
    return batch._replace(arrays=_put(batch.arrays, sharding, ""))


def _put(arrays: Mapping[str, Any], sharding: Placement, prefix: str) -> dict[str, Any]:
    placed = {}
    for name, value in arrays.items():
        path = prefix + name
        if isinstance(value, Mapping):
            placed[name] = _put(value, sharding, f"{path}/")
        else:
            where = sharding(path) if callable(sharding) else sharding
            placed[name] = jax.make_array_from_process_local_data(where, value)
    return placed
