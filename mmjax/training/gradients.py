"""The loss of a batch and its gradient, exact for any number of micro-batches.

* Gradients are of sum(values * weights) / total for every loss part, so micro-batches add up
  exactly.
* A task with `encode` is accumulated through it (GradCache, https://arxiv.org/abs/2101.06983):
  embeddings of the whole batch, one micro-batch of activations at a time, recomputed in the
  backward pass with the same randomness. Its row-wise losses (`local`) go the same way.
* A task without `encode` is accumulated loss and all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mmjax import tree
from mmjax.tasks.base import Batch, Loss, Task, part_of, rows
from mmjax.training.micro_batches import Packs, fold, merged, unfold
from mmjax.typing import Array

# names of the data sets of a mixture; by sub-batch where there are some
Sources = Sequence[str] | Mapping[str, Any]
SELECT, LOCAL = 1, 2  # purposes of random keys beside those of `encode` and `loss`


def denominators(task: Task, batch: Batch) -> Callable[[str], Array]:
    """Name of a loss part -> what its sum is divided by, from the whole prepared batch.

    Looked up under the part's own name, then under its parents', the nearest first; otherwise it is
    the number of real rows of the sub-batch that the part belongs to.
    """
    totals = task.totals(batch)

    def denominator(name: str) -> Array:
        ancestor = name
        while ancestor:
            if ancestor in totals:
                return totals[ancestor]
            ancestor = ancestor.rpartition("/")[0]
        return rows(part_of(batch, name))

    return denominator


def by_source(loss: Loss, batch: Batch, sources: Sources, *, alone: bool = True) -> Loss:
    """Adds each source's own share of every loss part and metric that has a value per row.

    They are called "loss/<source>" (with several parts "loss/<part>/<source>") and
    "<metric>/<source>".

    Args:
      sources: names, in the order of the numbers in `batch["source"]` [B]; of a batch of
        sub-batches a dict of such names. Sub-batches of a single source add nothing.
      alone: the task has no other loss parts than these.
    """
    per_row = dict(loss.metrics)
    single = alone and len(loss.parts) == 1
    for name, part in loss.parts.items():
        per_row["loss" if single else f"loss/{name}"] = (part.values, part.weights)
    metrics = dict(loss.metrics)
    for name, (values, weights) in per_row.items():
        owner = name.removeprefix("loss/")
        if name == "loss":
            owner = next(iter(loss.parts))
        names = _names_of(sources, owner)
        source = part_of(batch, owner).get("source")
        if len(names) < 2 or source is None:
            continue
        if jnp.shape(values)[:1] != source.shape or jnp.shape(weights)[:1] != source.shape:
            continue
        for number, which in enumerate(names):
            own = (source == number).reshape(-1, *(1,) * (weights.ndim - 1))
            metrics[f"{name}/{which}"] = (values, jnp.where(own, weights, 0.0))
    return loss._replace(metrics=metrics)


def _names_of(sources: Sources, name: str) -> Sequence[str]:
    """The sources of the sub-batch that a loss part or a metric belongs to."""
    if not isinstance(sources, Mapping):
        return sources
    first, _, rest = name.partition("/")
    return _names_of(sources.get(first, ()), rest)


def _sums(loss: Loss) -> dict[str, Array]:
    """Sums of values * weights of each part."""
    return {
        name: jnp.sum(jnp.where(part.weights > 0, part.values * part.weights, 0.0))
        for name, part in loss.parts.items()
    }


def _objective(loss: Loss, denominator: Callable[[str], Array]) -> tuple[Array, tuple]:
    """The scalar that is differentiated, and what is reported of it: everything adds up over
    micro-batches."""
    sums = _sums(loss)
    value = jnp.zeros(())
    parts = {}
    for name, part in loss.parts.items():
        parts[name] = sums[name] / jnp.maximum(denominator(name), 1e-9)
        value += part.coefficient * parts[name]
    metrics = {
        name: (
            jnp.sum(jnp.where(weights > 0, values * weights, 0.0)),
            jnp.sum(jnp.broadcast_to(weights, jnp.shape(values))),
        )
        for name, (values, weights) in loss.metrics.items()
    }
    return value, (parts, metrics, loss.statistics)


def gradients(
    task: Task,
    variables: dict,
    trained: Any,
    batch: Batch,
    rng: jax.Array,
    step: Array,
    accumulate: int,
    sources: Sources = (),
    pack: Packs = 0,
) -> tuple[Array, Any, tuple]:
    """Loss of the whole batch, its gradient with respect to `trained`, and (parts, metrics,
    statistics).

    Args:
      trained: the parameters that are differentiated; `variables["params"]` holds the others too.
      sources: names of the data sets of a mixture, each measured apart; fewer than two: none are.
      pack: examples that share rows (`BatchPlan.pack`); a dict for a batch of sub-batches.
    """
    if task.local is not None and task.encode is None:
        raise ValueError(
            f"{type(task).__name__} has `local` without `encode`: put its row-wise losses in `loss`"
        )
    denominator = denominators(task, batch)
    measured_apart = isinstance(sources, Mapping) or len(sources) > 1

    def whole(trained: Any) -> dict:
        return {**variables, "params": tree.merge(variables["params"], trained)}

    def objective_of(loss: Loss, batch: Batch) -> tuple[Array, tuple]:
        if measured_apart:
            loss = by_source(loss, batch, sources, alone=task.local is None)
        return _objective(loss, denominator)

    if task.encode is not None:

        def objective(trained: Any) -> tuple[Array, tuple]:
            whole_variables = whole(trained)
            encoded = _encode(task, whole_variables, batch, rng, accumulate, pack)
            loss = task.loss(whole_variables, batch, encoded, rng, step, train=True)
            stacked = loss._replace(statistics=_stack(loss.statistics))
            result = objective_of(stacked, batch)
            if task.local is None:
                return result

            def local(batch: Batch, encoded: Any, key: jax.Array) -> tuple[Array, tuple]:
                loss = task.local(whole_variables, batch, encoded, key, step, train=True)
                return objective_of(loss, batch)

            key = jax.random.fold_in(rng, SELECT)
            selected = task.select(whole_variables, batch, encoded, key, step)
            encoded = merged(encoded, selected, batch)
            key = jax.random.fold_in(rng, LOCAL)
            return _together(result, _row_wise(local, batch, encoded, key, accumulate, pack))

        (value, report), grads = jax.value_and_grad(objective, has_aux=True)(trained)
        return value, grads, report

    def objective(trained: Any, batch: Batch, key: jax.Array) -> tuple[Array, tuple]:
        loss = task.loss(whole(trained), batch, None, key, step, train=True)
        return objective_of(loss, batch)

    differentiate = jax.value_and_grad(objective, has_aux=True)
    if accumulate == 1:
        (value, (parts, metrics, statistics)), grads = differentiate(trained, batch, rng)
        return value, grads, (parts, metrics, _stack(statistics))
    return _accumulated(differentiate, trained, batch, rng, accumulate, pack)


def _encode(
    task: Task, variables: dict, batch: Batch, rng: jax.Array, accumulate: int, pack: Packs
) -> Any:
    """The encodings of all rows, made a micro-batch at a time and made again for the gradient."""

    def encode(batch: Batch, key: jax.Array) -> Any:
        return task.encode(variables, batch, key, train=True)

    if accumulate == 1:
        return encode(batch, rng)
    keys = jax.random.split(rng, accumulate)
    folded = fold(batch, batch, accumulate, pack)
    encoded = jax.lax.map(lambda part: jax.checkpoint(encode)(*part), (folded, keys))
    return unfold(encoded, batch, pack)


def _row_wise(
    local: Callable[..., tuple[Array, tuple]],
    batch: Batch,
    encoded: Any,
    rng: jax.Array,
    accumulate: int,
    pack: Packs,
) -> tuple[Array, tuple]:
    """The objective of `local` over all rows, a micro-batch at a time, made again for the
    gradient."""
    if accumulate == 1:
        value, (parts, metrics, statistics) = local(batch, encoded, rng)
        return value, (parts, metrics, _stack(statistics))
    keys = jax.random.split(rng, accumulate)
    folded = fold(batch, batch, accumulate, pack), fold(encoded, batch, accumulate, pack)
    recomputed = jax.checkpoint(local, prevent_cse=False)  # a loop's body is not merged anyway
    value, (parts, metrics, statistics) = jax.lax.map(
        lambda part: recomputed(*part), (*folded, keys)
    )
    value, parts, metrics = jax.tree.map(lambda x: x.sum(0), (value, parts, metrics))
    return value, (parts, metrics, statistics)


def _together(of_loss: tuple[Array, tuple], of_local: tuple[Array, tuple]) -> tuple[Array, tuple]:
    """One objective of two.

    Raises:
      ValueError: a name that both have.
    """
    value, (parts, metrics, statistics) = of_loss
    local_value, (local_parts, local_metrics, local_statistics) = of_local
    twice = sorted({*parts, *metrics} & {*local_parts, *local_metrics})
    if twice:
        raise ValueError(f"`loss` and `local` both report {twice[0]!r}: rename one of them")
    both = {"loss": statistics, "local": local_statistics}
    return value + local_value, ({**parts, **local_parts}, {**metrics, **local_metrics}, both)


def _accumulated(
    differentiate: Callable[..., Any],
    trained: Any,
    batch: Batch,
    rng: jax.Array,
    accumulate: int,
    pack: Packs,
) -> tuple[Array, Any, tuple]:
    """What `gradients` returns for a task without `encode`: sums over micro-batches."""

    def micro_step(sums: Any, part: tuple) -> tuple[Any, Any]:
        (value, (parts, metrics, statistics)), grads = differentiate(trained, *part)
        return jax.tree.map(jnp.add, sums, (value, grads, parts, metrics)), statistics

    keys = jax.random.split(rng, accumulate)
    folded = fold(batch, batch, accumulate, pack)
    first = jax.tree.map(lambda x: x[0], (folded, keys))
    (value, (parts, metrics, _)), grads = jax.eval_shape(differentiate, trained, *first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (value, grads, parts, metrics))
    (value, grads, parts, metrics), statistics = jax.lax.scan(micro_step, zeros, (folded, keys))
    return value, grads, (parts, metrics, statistics)


def _stack(statistics: Any) -> Any:
    """Statistics of a single micro-batch, in the form of several."""
    return jax.tree.map(lambda x: x[None], statistics)
