"""What an evaluator is, and the one loop that runs every evaluator.

* A number over a data set is not a mean over batches (retrieval, CIDEr, WER): an evaluator turns a
  batch into rows on the device (`records`) and all rows into numbers on the host (`finish`).
* Exact under sharding and padding: rows of every device and process are gathered, padding and
  corrupt rows (weight 0) dropped, the rest ordered by (source, index). An example seen twice is an
  error, so no number depends on the batch size, the device count or the process count.
* Compiled once per shape, also across evaluations: a short last batch is filled up with weight 0.
* Metric names are paths, "unseen_style/image_to_text/r1". A path with a segment of `BASELINES` in
  it ("chance/image_to_text/r1") is what the number without that segment must be read against.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

Rows = dict[str, np.ndarray]  # every array with one leading row per example
Predict = Callable[[Any, Any, jax.Array], dict[str, jax.Array]]  # (variables, batch, rng)

# Path segments that mark a number as a baseline of the number named without it.
BASELINES = ("chance", "majority", "thumbnail_neighbour", "question_only")


@dataclasses.dataclass(frozen=True)
class Result:
    """What an evaluation found."""

    metrics: dict[str, float]
    pictures: dict[str, Any] = dataclasses.field(default_factory=dict)  # name -> PIL.Image
    # Per-query values behind the metrics ("image_to_text/r1": [Q]), for evaluation/bootstrap.py.
    queries: Rows = dataclasses.field(default_factory=dict)


@runtime_checkable
class Evaluator(Protocol):
    """Subclasses are frozen dataclasses: their fields are the config row and what is handed in."""

    predict: str  # which of the task's predict functions it wants: "embed", "logits", "generate"

    def check(self, columns: Mapping[str, np.ndarray]) -> None:
        """Raises ValueError where stored columns of the data show that `finish` cannot succeed."""
        return None

    def prepare(self, collect: Callable[..., Rows]) -> Any:
        """What `records` needs from the weights, once per run (class embeddings); any pytree.

        `collect(records, batches) -> Rows` is `gather` with predict and variables filled in.
        """
        return None

    def records(self, predict, variables, batch, prepared) -> dict[str, jax.Array]:
        """One batch to per-example arrays, under jit. `predict(variables, batch)` has its rng."""
        ...

    def finish(self, rows: Rows) -> Result:
        """All rows of the data set, in order, to the result. `rows["index"]` is always there."""
        ...


def run(
    evaluator: Evaluator,
    predict: Predict,
    variables: Any,
    batches: Iterable[Mapping[str, Any]],
    *,
    put: Callable[[Any], Any] | None = None,
    columns: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> Result:
    """Evaluates `variables` over `batches`, each example once.

    predict: `task.predict[evaluator.predict]`, the same object at every call (else it recompiles).
    batches: dicts with "weight" [B], "index" [B], optionally "source" [B], and the task's fields.
    put:     places a process's own numpy batch on the devices; needed with several processes.
    columns: stored columns of the one source (`source.column(name)`), joined to the rows by index.
    Every process returns the same result.
    """
    collect = functools.partial(gather, predict, variables, put=put, seed=seed)
    rows = collect(evaluator.records, batches, prepared=evaluator.prepare(collect))
    for name, column in (columns or {}).items():
        if len(np.unique(rows["source"])) > 1:
            raise ValueError(
                f"column {name!r} cannot be joined by index: the batches hold several sources"
            )
        if name not in rows:
            rows[name] = np.asarray(column)[rows["index"]]
    return evaluator.finish(rows)


def gather(
    predict: Predict,
    variables: Any,
    records: Callable[..., dict[str, jax.Array]],
    batches: Iterable[Mapping[str, Any]],
    *,
    prepared: Any = None,
    put: Callable[[Any], Any] | None = None,
    seed: int = 0,
) -> Rows:
    """Rows of `records` over `batches`, from all processes, ordered by ("source", "index")."""
    parts, pending, size = [], None, None
    for number, batch in enumerate(batches):
        batch, size = _filled(batch, size)
        if put is not None:
            batch = put(batch)
        out = _step(records, predict, variables, batch, prepared, np.uint32(number), seed)
        if pending is not None:  # fetched one batch late: the device works while the host copies
            parts.append(_fetch(pending))
        pending = out
    if pending is None:
        raise ValueError("nothing to evaluate: there is no batch")
    parts.append(_fetch(pending))
    return _ordered({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


@functools.partial(jax.jit, static_argnames=("records", "predict", "seed"))
def _step(records, predict, variables, batch, prepared, number, seed):
    rng = jax.random.fold_in(jax.random.key(seed), number)

    def seeded(variables, batch):
        return predict(variables, batch, rng)

    out = records(seeded, variables, batch, prepared)
    out = {
        name: value.astype(jnp.float32) if jnp.issubdtype(value.dtype, jnp.floating) else value
        for name, value in out.items()
    }
    return out | {name: batch[name] for name in ("weight", "index", "source")}


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


def _fetch(out: Mapping[str, jax.Array]) -> Rows:
    """Device arrays to numpy, with the rows of all processes."""

    def fetch(value):
        if jax.process_count() == 1 or value.is_fully_replicated and not value.is_fully_addressable:
            return np.asarray(value)
        return np.asarray(multihost_utils.process_allgather(value, tiled=True))

    return {name: fetch(value) for name, value in out.items()}


def _ordered(rows: Rows) -> Rows:
    short = [name for name, value in rows.items() if value.shape[0] != rows["weight"].shape[0]]
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
