"""The train step: (state, batch) -> (state, metrics). There is no other.

* Gradients are of sum(values * weights) / total for every loss part, so micro-batches add up
  exactly.
* A task with `encode` is accumulated through it (GradCache, https://arxiv.org/abs/2101.06983):
  embeddings of the whole batch, one micro-batch of activations at a time, recomputed in the
  backward pass with the same randomness.
* All randomness is fold_in(seed, step): a resumed run draws the same numbers.
* A step whose loss or gradient is not finite changes nothing but the step counter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mmjax import tree
from mmjax.tasks.base import Batch, Loss, Task, Teacher, rows
from mmjax.training.state import State, StateSpec
from mmjax.typing import Array

PREPARE, LOSS, UPDATE = range(3)  # purposes of a step's random keys


def _fold(batch: Batch, count: int) -> Any:
    """[B, ...] -> [count, B / count, ...]: micro-batch i holds rows i, i + count, ... so that
    shards stay in place; packs, where there are any, instead of rows."""
    units = _units(batch)
    if units % count:
        raise ValueError(f"a batch of {units} rows does not divide into {count} micro-batches")

    def fold(x: Array) -> Array:
        x = x.reshape(units // count, count, x.shape[0] // units, *x.shape[1:])
        return x.swapaxes(0, 1).reshape(count, -1, *x.shape[3:])

    return jax.tree.map(fold, batch)


def _unfold(encoded: Any, units: int) -> Any:
    """The inverse, for a batch of so many rows or packs."""

    def unfold(x: Array) -> Array:
        x = x.reshape(x.shape[0], units // x.shape[0], -1, *x.shape[2:])
        return x.swapaxes(0, 1).reshape(-1, *x.shape[3:])

    return jax.tree.map(unfold, encoded)


def _units(batch: Batch) -> int:
    """Rows of a batch, or its packs: what is never split."""
    return math.gcd(*(x.shape[0] for x in jax.tree.leaves(batch)))


def _sums(loss: Loss) -> dict[str, Array]:
    """Sums of values * weights of each part."""
    return {
        name: jnp.sum(jnp.where(part.weights > 0, part.values * part.weights, 0.0))
        for name, part in loss.parts.items()
    }


def _objective(loss: Loss, totals: dict, count: Array) -> tuple[Array, tuple]:
    """The scalar that is differentiated, and what is reported of it: everything adds up over
    micro-batches."""
    sums = _sums(loss)
    value = jnp.zeros(())
    parts = {}
    for name, part in loss.parts.items():
        parts[name] = sums[name] / jnp.maximum(totals.get(name, count), 1e-9)
        value += part.coefficient * parts[name]
    metrics = {
        name: (
            jnp.sum(jnp.where(weights > 0, values * weights, 0.0)),
            jnp.sum(jnp.broadcast_to(weights, jnp.shape(values))),
        )
        for name, (values, weights) in loss.metrics.items()
    }
    return value, (parts, metrics, loss.statistics)


def by_source(loss: Loss, batch: Batch, sources: Sequence[str]) -> Loss:
    """Adds each source's own share of every loss part and metric that has a value per row.

    They are called "loss/<source>" (with several parts "loss/<part>/<source>") and
    "<metric>/<source>". sources: names, in the order of the numbers in `batch["source"]` [B].
    """
    per_row = dict(loss.metrics)
    for name, part in loss.parts.items():
        per_row["loss" if len(loss.parts) == 1 else f"loss/{name}"] = (part.values, part.weights)
    metrics = dict(loss.metrics)
    source = batch["source"]
    for name, (values, weights) in per_row.items():
        if jnp.shape(values)[:1] != source.shape or jnp.shape(weights)[:1] != source.shape:
            continue
        for number, which in enumerate(sources):
            mine = (source == number).reshape(-1, *(1,) * (weights.ndim - 1))
            metrics[f"{name}/{which}"] = (values, jnp.where(mine, weights, 0.0))
    return loss._replace(metrics=metrics)


def gradients(
    task: Task,
    variables: dict,
    trained: Any,
    batch: Batch,
    rng: jax.Array,
    step: Array,
    accumulate: int,
    sources: Sequence[str] = (),
) -> tuple[Array, Any, tuple]:
    """Loss of the whole batch, its gradient with respect to `trained`, and (parts, metrics,
    statistics).

    Args:
      trained: the parameters that are differentiated; `variables["params"]` holds the others too.
      sources: names of the data sets of a mixture, each measured apart; fewer than two: none are.
    """
    totals, count = task.totals(batch), rows(batch)

    def loss_of(trained: Any, batch: Batch, encoded: Any, key: jax.Array) -> Loss:
        loss = task.loss(whole(trained), batch, encoded, key, step, train=True)
        return by_source(loss, batch, sources) if len(sources) > 1 else loss

    def whole(trained: Any) -> dict:
        return {**variables, "params": tree.merge(variables["params"], trained)}

    if task.encode is not None:

        def objective(trained: Any) -> tuple[Array, tuple]:
            def encode(batch: Batch, key: jax.Array) -> Any:
                return task.encode(whole(trained), batch, key, train=True)

            if accumulate == 1:
                encoded = encode(batch, rng)
            else:
                keys = jax.random.split(rng, accumulate)
                encoded = _unfold(
                    jax.lax.map(
                        lambda part: jax.checkpoint(encode)(*part), (_fold(batch, accumulate), keys)
                    ),
                    _units(batch),
                )
            loss = loss_of(trained, batch, encoded, rng)
            return _objective(loss._replace(statistics=_stack(loss.statistics)), totals, count)

        (value, report), grads = jax.value_and_grad(objective, has_aux=True)(trained)
        return value, grads, report

    def objective(trained: Any, batch: Batch, key: jax.Array) -> tuple[Array, tuple]:
        return _objective(loss_of(trained, batch, None, key), totals, count)

    differentiate = jax.value_and_grad(objective, has_aux=True)
    if accumulate == 1:
        (value, (parts, metrics, statistics)), grads = differentiate(trained, batch, rng)
        return value, grads, (parts, metrics, _stack(statistics))

    def micro_step(sums: Any, part: tuple) -> tuple[Any, Any]:
        (value, (parts, metrics, statistics)), grads = differentiate(trained, *part)
        return jax.tree.map(jnp.add, sums, (value, grads, parts, metrics)), statistics

    keys = jax.random.split(rng, accumulate)
    folded = _fold(batch, accumulate)
    first = jax.tree.map(lambda x: x[0], (folded, keys))
    (value, report), grads = jax.eval_shape(differentiate, trained, *first)
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), (value, grads, report[0], report[1])
    )
    (value, grads, parts, metrics), statistics = jax.lax.scan(micro_step, zeros, (folded, keys))
    return value, grads, (parts, metrics, statistics)


def _stack(statistics: Any) -> Any:
    """Statistics of a single micro-batch, in the form of several."""
    return jax.tree.map(lambda x: x[None], statistics)


def _follow(teacher: Teacher, copy: Any, params: Any, step: Array) -> Any:
    decay = jnp.float32(teacher.decay)
    if teacher.warmup:
        decay = jnp.minimum(decay, (1 + step) / (10 + step))
    flat = tree.flatten(params)
    return tree.map_with_path(lambda path, old: old + (1 - decay) * (flat[path] - old), copy)


def make_step(
    spec: StateSpec, accumulate: int = 1, sources: Sequence[str] = ()
) -> Callable[[State, Batch], tuple[State, dict[str, Array]]]:
    """The step of a run, ready for `jax.jit` (donate the state).

    Metrics are scalars: "loss", "loss/<part>", the task's own, "gradient_norm",
    "learning_rate/<group>" and "finite" (0: the step was skipped); with several sources also
    those of `by_source`.
    """
    task, optimizer = spec.task, spec.optimizer

    def step_function(state: State, batch: Batch) -> tuple[State, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.key(spec.seed), state.step)
        keys = jax.random.split(key, 3)
        batch = task.prepare(batch, keys[PREPARE], state.step)
        trained, frozen = tree.partition(state.params, optimizer.trained)
        variables = {**state.variables, "params": frozen}
        value, grads, (parts, metrics, statistics) = gradients(
            task, variables, trained, batch, keys[LOSS], state.step, accumulate, sources
        )
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        if optimizer.clip_norm > 0:
            factor = jnp.minimum(1.0, optimizer.clip_norm / jnp.maximum(norm, 1e-12))
            grads = jax.tree.map(lambda g: g * factor, grads)
        updates, new_optimizer = optimizer.transformation.update(grads, state.optimizer, trained)
        params = tree.merge(frozen, optax.apply_updates(trained, updates))
        new_state = task.update(
            {**state.variables, "params": params}, statistics, keys[UPDATE], state.step
        )
        teachers = {
            name: _follow(spec.teachers[name], copy, params, state.step)
            for name, copy in state.teachers.items()
        }

        def keep(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

        report = {"loss": value, "gradient_norm": norm, "finite": finite.astype(jnp.float32)}
        report |= {f"loss/{name}": part for name, part in parts.items()} if len(parts) > 1 else {}
        report |= {
            name: total / jnp.maximum(weight, 1e-9) for name, (total, weight) in metrics.items()
        }
        done = state.step - state.skipped  # updates so far: where the schedules stand
        for i, group in enumerate(optimizer.groups):
            if group.optimizer != "frozen":
                report["learning_rate" + (f"/{i}" if i else "")] = jnp.asarray(
                    optimizer.schedules[i](done)
                )
        return (
            State(
                step=state.step + 1,
                params=keep(params, state.params),
                state=keep(new_state, state.state),
                teachers=keep(teachers, state.teachers),
                optimizer=keep(new_optimizer, state.optimizer),
                skipped=state.skipped + (1 - finite.astype(jnp.int32)),
            ),
            report,
        )

    return step_function
