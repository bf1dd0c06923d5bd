"""The one loop that turns batches into rows: what every evaluator's `records` runs in.

* Exact under sharding and padding: rows of every device and process are gathered, padding and
  corrupt rows (weight 0) dropped, the rest ordered by (source, index). An example seen twice is an
  error, so no number depends on the batch size, the device count or the process count.
* A random predict draws from one key for each row, made from (seed, source, index) alone.
* Compiled once per shape, also across evaluations: a short last batch is filled up with weight 0.
* Media (pictures, clips, sounds) leave the device for the rows in `kept` alone.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Int, Key

from mmjax.errors import NotFinite

MEDIA = "media"
# Arrays with one leading row for each example, and under MEDIA a dict of arrays for kept rows only.
Rows = dict[str, Any]
# (variables, batch, keys [B], **arguments) -> arrays with one row for each example
Predict = Callable[..., Mapping[str, jax.Array]]


def gather(
    predict: Predict,
    variables: Any,
    records: Callable[..., dict[str, Any]],
    batches: Iterable[Mapping[str, Any]],
    *,
    prepared: Any = None,
    arguments: Mapping[str, Any] | None = None,
    kept: Int[np.ndarray, " K"] | None = None,
    put: Callable[[Any], Any] | None = None,
    seed: int = 0,
) -> Rows:
    """Rows of `records` over `batches`, from all processes, ordered by ("source", "index").

    Args:
      batches: dicts with "weight" [B], "index" [B], optionally "source" [B], and the task's fields.
      arguments: static keyword arguments of predict.
      kept: indices of the rows whose media are kept; None: of no row.
      put: places a process's own numpy batch on the devices; needed with several processes.

    Raises:
      ValueError: no batch, no row with weight, an example that came more than once.
      NotFinite: a row with a NaN or an infinity; names what it is of.
    """
    static = tuple(sorted((arguments or {}).items()))
    kept = np.zeros(0, np.int64) if kept is None else kept
    parts: list[Rows] = []
    media: list[Rows] = []
    pending = None
    size = None

    def fetch(out: Mapping[str, Any]) -> None:
        numbers = _to_host({name: value for name, value in out.items() if name != MEDIA})
        parts.append(numbers)
        wanted = np.isin(numbers["index"], kept) & (numbers["weight"] > 0)
        if MEDIA in out and wanted.any():
            named = {name: numbers[name] for name in ("weight", "index", "source")}
            whole = _to_host(out[MEDIA]) | named
            media.append({name: value[wanted] for name, value in whole.items()})

    for batch in batches:
        batch, size = _filled(batch, size)
        if put is not None:
            batch = put(batch)
        out = _step(records, predict, static, variables, batch, prepared, seed)
        if pending is not None:  # fetched one batch late: the device works while the host copies
            fetch(pending)
        pending = out
    if pending is None:
        raise ValueError("nothing to evaluate: there is no batch")
    fetch(pending)
    rows = _ordered(_joined(parts))
    _check_finite(rows)
    if MEDIA in pending:
        rows[MEDIA] = _ordered(_joined(media)) if media else {}
    return rows


def row_keys(
    seed: int, source: Int[Array, " B"], index: Int[Array, " B"]
) -> Key[Array, " B"]:
    """A random key for each row, whatever batch it comes in."""
    start = jax.random.key(seed)

    def of_row(source: jax.Array, index: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(start, source), index)

    return jax.vmap(of_row)(source, index)


@functools.partial(jax.jit, static_argnames=("records", "predict", "arguments", "seed"))
def _step(records, predict, arguments, variables, batch, prepared, seed):
    keys = row_keys(seed, batch["source"], batch["index"])

    def bound(variables, batch, **more):
        return predict(variables, batch, keys, **{**dict(arguments), **more})

    out = records(bound, variables, batch, prepared)
    out = jax.tree.map(_single_precision, out)
    return out | {name: batch[name] for name in ("weight", "index", "source")}


def _single_precision(value: jax.Array) -> jax.Array:
    """bfloat16, which numpy does not know, as float32."""
    return value.astype(jnp.float32) if jnp.issubdtype(value.dtype, jnp.floating) else value


def _filled(batch: Mapping[str, Any], size: int | None) -> tuple[dict[str, Any], int]:
    """The batch with its bookkeeping fields, a short one filled up to `size` rows of weight 0."""
    batch = dict(batch)
    for name in ("weight", "index"):
        if name not in batch:
            raise ValueError(f'a batch to evaluate has no {name!r}; it has {", ".join(batch)}')
    rows = batch["weight"].shape[0]
    if "source" not in batch:
        batch["source"] = np.zeros(rows, np.int32)
    missing = (size or rows) - rows
    if missing <= 0 or isinstance(batch["weight"], jax.Array):
        return batch, size or rows
    # The last row is repeated, not zeros: whatever the model does with it, it is a valid example.
    batch = {name: np.concatenate([x, np.repeat(x[-1:], missing, 0)]) for name, x in batch.items()}
    batch["weight"][rows:] = 0
    return batch, size


def _to_host(arrays: Mapping[str, jax.Array]) -> Rows:
    """Device arrays to numpy, with the rows of all processes."""

    def whole(value: jax.Array) -> np.ndarray:
        if jax.process_count() == 1 or value.is_fully_replicated and not value.is_fully_addressable:
            return np.asarray(value)
        return np.asarray(multihost_utils.process_allgather(value, tiled=True))

    return {name: whole(value) for name, value in arrays.items()}


def _check_finite(rows: Rows) -> None:
    for name, values in rows.items():
        bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
        if bad.size:
            raise NotFinite(
                f"{name!r} of {bad.size} of {len(values)} examples holds a NaN or an infinity, the "
                f"first is example {rows['index'][bad[0]]}: the model's weights cannot be used, or "
                "not in the type that it computes in"
            )


def _joined(parts: list[Rows]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _ordered(rows: Rows) -> Rows:
    count = rows["weight"].shape[0]
    short = [name for name, value in rows.items() if value.shape[0] != count]
    if short:
        raise ValueError(f"records must return one row per example: not so for {', '.join(short)}")
    kept = rows["weight"] > 0
    if not kept.any():
        raise ValueError(f"nothing to evaluate: all {kept.size} rows have weight 0")
    rows = {name: value[kept] for name, value in rows.items() if name != "weight"}
    order = np.lexsort((rows["index"], rows["source"]))
    rows = {name: value[order] for name, value in rows.items()}
    places = np.stack([rows["source"], rows["index"]], axis=1)
    repeated = np.flatnonzero((places[1:] == places[:-1]).all(axis=1))
    if repeated.size:
        source, index = places[repeated[0]]
        raise ValueError(
            f"{repeated.size} examples came more than once, the first is example {index} of source "
            f"{source}: evaluate with a sequential plan that visits each example once"
        )
    return rows
